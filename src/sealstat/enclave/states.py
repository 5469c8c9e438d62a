"""A task's state: sealed under a key that the holders share, opened once to go on, and then replaced by the next.

The host keeps the ciphertext and may give an old one, or another task's: its parts are bound to agreement, task and
counter, and the digest that names it stands in the record that the holders' shares belong to (protocol.md section 8).
"""

import secrets
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa

from sealstat.agreement import contexts
from sealstat.agreement.statements import State
from sealstat.crypto.cards import b64, unb64
from sealstat.crypto.errors import CryptoError
from sealstat.enclave.errors import SessionOver
from sealstat.tables.about import open_about, seal_about
from sealstat.tables.ahead import ahead
from sealstat.tables.errors import DataError
from sealstat.tables.sealed import MAX_LIST_BYTES, SealedPart, open_part, parse_parts_list, parts_list, seal_table
from sealstat.wire.client import HostClient


@dataclass(frozen=True, slots=True)
class OpenState:
    """The newest state, whose key enough holders gave to this instance.

    Attributes:
        agreement, c: under which, and for which counter, it was sealed.
        secret: for ties; the same from a report's first day to its end.
        observed: the rows of the table about the days' data, of all days so far.
    """

    agreement: str
    task: str
    c: int
    said: State
    key: bytes = field(repr=False)
    secret: bytes = field(repr=False)
    observed: list[dict[str, Any]] = field(repr=False)

    def batches(self, client: HostClient, schema: pa.Schema) -> Iterator[pa.RecordBatch]:
        """All rows, each part authenticated; may be called again.

        Raises:
            SessionOver: the host does not give the state that the record names.
        """
        place = contexts.state_place(self.task, self.c)
        listed = parse_parts_list(client.get_blob(self.agreement, self.said.parts.digest, limit=MAX_LIST_BYTES))

        def opened(index: int) -> list[pa.RecordBatch]:
            sealed = client.get_blob(self.agreement, listed[index].sha256)
            try:
                return open_part(
                    sealed,
                    key=self.key,
                    agreement=self.agreement,
                    place=place,
                    index=index,
                    last=index == len(listed) - 1,
                    schema=schema,
                )
            except (CryptoError, DataError) as error:
                raise SessionOver("a part of the state does not open") from error

        for found in ahead(opened, range(len(listed)), workers=2, name="state"):
            yield from found


def open_state(client: HostClient, agreement: str, task: str, c: int, said: State, key: bytes) -> OpenState:
    """The state of counter c, its note read.

    Raises:
        SessionOver: the key does not open it: a holder's share was wrong, or the host gave something else.
    """
    sealed = client.get_blob(agreement, said.about)
    try:
        about = open_about(sealed, key=key, agreement=agreement, place=contexts.state_place(task, c))
        return OpenState(agreement, task, c, said, key, unb64(about["secret"]), about["observed"])
    except (CryptoError, KeyError) as error:
        raise SessionOver("the state does not open with the shares that the holders gave") from error


@dataclass(frozen=True, slots=True)
class SealedState:
    """A new state with the host: what the record says of it, its key still to be split."""

    parts: dict[str, Any]
    about: str
    key: bytes = field(repr=False)
    rows: int

    @property
    def digest(self) -> str:
        """As State.digest."""
        return State.model_validate({"parts": self.parts, "about": self.about, "shares": {}}).digest


def seal_state(
    client: HostClient,
    agreement: str,
    task: str,
    c: int,
    batches: Iterable[pa.RecordBatch],
    schema: pa.Schema,
    secret: bytes,
    observed: list[dict[str, Any]],
) -> SealedState:
    """Seal and store the state of counter c under a fresh key, part by part as its rows come."""
    key, place, rows = secrets.token_bytes(32), contexts.state_place(task, c), 0

    def counted() -> Iterator[pa.RecordBatch]:
        nonlocal rows
        for batch in batches:
            rows += len(batch)
            yield batch

    parts = seal_table(counted(), key=key, agreement=agreement, place=place, schema=schema)

    def stored(part: SealedPart) -> tuple[int, str]:
        return len(part.ciphertext), client.put_blob(agreement, part.ciphertext)

    listed = list(ahead(stored, parts, workers=2, name="store"))
    about = seal_about({"secret": b64(secret), "observed": observed}, key=key, agreement=agreement, place=place)
    listing = client.put_blob(agreement, parts_list(listed))
    return SealedState({"count": len(listed), "digest": listing}, client.put_blob(agreement, about), key, rows)
