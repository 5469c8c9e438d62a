"""Reading of binary structures: every length is held against what is left."""

from sealstat.evidence.errors import EvidenceError


class Reader:
    """Takes bytes from the front; ``order`` is "little" (Intel) or "big" (TPM)."""

    def __init__(self, data: bytes, order: str) -> None:
        self._left = memoryview(data)
        self._order = order

    def take(self, size: int) -> bytes:
        """The next bytes.

        Raises:
            EvidenceError: fewer are left.
        """
        if size > len(self._left):
            raise EvidenceError(
                f"the evidence is cut short: expected {size:,} more bytes, {len(self._left):,} are left"
            )
        taken, self._left = self._left[:size], self._left[size:]
        return bytes(taken)

    def number(self, size: int) -> int:
        """The next whole number of so many bytes."""
        return int.from_bytes(self.take(size), "little" if self._order == "little" else "big")

    def rest(self) -> bytes:
        """All that is left."""
        return self.take(len(self._left))

    def end(self, what: str) -> None:
        """Refuse what is left over.

        Raises:
            EvidenceError: there is something.
        """
        if len(self._left):
            raise EvidenceError(f"{len(self._left):,} bytes too many stand in the {what}")
