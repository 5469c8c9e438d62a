"""Reading of binary structures: every length is held against what is left."""

from typing import Literal

from sealstat.evidence.errors import EvidenceError


class Reader:
    """Takes bytes from the front; whole numbers are "little" (Intel) or "big" (TPM)."""

    def __init__(self, data: bytes, order: Literal["little", "big"]) -> None:
        self._data = data
        self._at = 0
        self._order = order

    def take(self, size: int) -> bytes:
        """The next bytes.

        Raises:
            EvidenceError: fewer are left.
        """
        end = self._at + size
        if end > len(self._data):
            left = len(self._data) - self._at
            raise EvidenceError(f"the evidence is cut short: expected {size:,} more bytes, {left:,} are left")
        taken = self._data[self._at : end]
        self._at = end
        return taken

    def number(self, size: int) -> int:
        """The next whole number of so many bytes."""
        return int.from_bytes(self.take(size), self._order)

    def rest(self) -> bytes:
        """All that is left."""
        return self.take(len(self._data) - self._at)

    def end(self, what: str) -> None:
        """Refuse what is left over.

        Raises:
            EvidenceError: there is something.
        """
        left = len(self._data) - self._at
        if left:
            raise EvidenceError(f"{left:,} bytes too many stand in the {what}")
