"""The witness protocol (C2SP tlog-witness): a witness cosigns only what continues the tree it cosigned before.

Pure: ``parse_add_checkpoint`` and ``decide``; for the log's side ``build_add_checkpoint``, ``parse_response``.
Files: ``Witness``, whose SQLite database makes comparing with and replacing the last cosigned tree one step.
HTTP: ``create_app``.
"""

from __future__ import annotations

import hashlib
import logging
import sqlite3
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Self

from sealstat.log._text import decode_hash, encode_base64, parse_decimal
from sealstat.log.checkpoint import Checkpoint, parse_checkpoint
from sealstat.log.errors import (
    MalformedError,
    ProofError,
    SignatureError,
    StoreError,
    WitnessConflictError,
    WitnessRefusedError,
)
from sealstat.log.merkle import EMPTY_ROOT, verify_consistency
from sealstat.log.note import (
    MAX_NOTE_BYTES,
    Cosigner,
    Note,
    SignatureLine,
    VerifierKey,
    parse_note,
    parse_signature_lines,
    verify_note,
)

if TYPE_CHECKING:
    from starlette.applications import Starlette
    from starlette.requests import Request
    from starlette.responses import Response

MAX_HASHES = 63
MAX_REQUEST_BYTES = MAX_NOTE_BYTES + 4096
MAX_RESPONSE_BYTES = 16 * 1024
MAX_SUSPECTS = 1000
"""Refused but well-signed requests kept for each origin: a log that goes on lying must not fill the disk."""

SIZE_TYPE = "text/x.tlog.size"
_TEXT_TYPE = "text/plain; charset=utf-8"

_log = logging.getLogger(__name__)


# --- the request --------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class AddCheckpoint:
    """A request to cosign, taken apart; nothing verified.

    Attributes:
        old_size: the size the witness is thought to have cosigned last.
        proof: consistency hashes from ``old_size`` to the note's size.
        note: the log's signed checkpoint.
    """

    old_size: int
    proof: tuple[bytes, ...]
    note: Note

    @property
    def origin(self) -> str:
        """First line of the note's text: whose checkpoint it claims to be."""
        return self.note.text.partition("\n")[0]


def build_add_checkpoint(old_size: int, proof: Sequence[bytes], note: bytes) -> bytes:
    """The body of a POST to ``<prefix>/add-checkpoint``.

    Args:
        old_size: what the witness cosigned last; 0 if unknown (its 409 then tells).
        proof: consistency proof from there; empty for 0.
        note: checkpoint signed by the log.
    """
    if len(proof) > MAX_HASHES:
        raise MalformedError(f"a request holds at most {MAX_HASHES} hashes")
    head = [f"old {old_size}", *(encode_base64(value) for value in proof), "", ""]
    return "\n".join(head).encode() + note


def parse_add_checkpoint(body: bytes) -> AddCheckpoint:
    """Take a request apart.

    Raises:
        MalformedError: it has not the form.
    """
    if len(body) > MAX_REQUEST_BYTES:
        raise MalformedError(f"a request has at most {MAX_REQUEST_BYTES} bytes")
    head, separator, note = body.partition(b"\n\n")
    if not separator:
        raise MalformedError("a request needs an empty line before its checkpoint")
    try:
        old, *hashes = head.decode("ascii").split("\n")
    except UnicodeDecodeError as error:
        raise MalformedError("the head of a request must be ASCII") from error
    if not old.startswith("old "):
        raise MalformedError("a request must begin with the old size")
    if len(hashes) > MAX_HASHES:
        raise MalformedError(f"a request holds at most {MAX_HASHES} hashes")
    return AddCheckpoint(
        parse_decimal(old.removeprefix("old "), "the old size"),
        tuple(decode_hash(line, "a consistency hash") for line in hashes),
        parse_note(note),
    )


# --- the decision -------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Cosigned:
    """What a witness remembers of one log.

    Attributes:
        size, root: of the largest tree it cosigned; the empty tree before the first.
        timestamp: of its last cosignature, POSIX seconds.
        note: checkpoint with the log's signature and the cosignature.
    """

    size: int = 0
    root: bytes = EMPTY_ROOT
    timestamp: int = 0
    note: bytes = b""


@dataclass(frozen=True, slots=True)
class Answer:
    """What a witness answers, and what it must have persisted before it does.

    Attributes:
        cosigned: the new state, or None if the state stays.
        suspicious: well signed, yet not consistent: to be kept as possible evidence.
    """

    status: int
    body: bytes = b""
    content_type: str = _TEXT_TYPE
    cosigned: Cosigned | None = None
    suspicious: bool = False


def decide(
    request: AddCheckpoint, *, keys: Sequence[VerifierKey], last: Cosigned, cosigner: Cosigner, now: int
) -> Answer:
    """Whether to cosign; the checks in the order of log.md section 8.

    Args:
        keys: trusted keys of the request's origin; none if it is unknown.
        last: what was cosigned for this origin before.
        now: POSIX seconds. A clock set back does not set the cosignature's time back: it would claim that
            at an earlier time more had been seen than an earlier cosignature says.
    """
    if not keys:
        return _refusal(404, "this witness does not know the log")
    try:
        verified = verify_note(request.note, keys)
    except SignatureError as error:
        return _refusal(403, str(error))
    try:
        checkpoint = parse_checkpoint(request.note.text)
    except MalformedError as error:
        return _refusal(400, str(error))
    if request.old_size > checkpoint.size:
        return _refusal(400, "the old size is above the checkpoint's")
    if request.old_size != last.size:
        return Answer(409, f"{last.size}\n".encode(), SIZE_TYPE)
    try:
        _check_growth(checkpoint, request, last)
    except ProofError as error:
        return _refusal(422, str(error), suspicious=True)
    timestamp = max(now, last.timestamp)
    line = cosigner.sign(request.note.text, timestamp=timestamp)
    note = Note(request.note.text, (*(signature.line for signature in verified), line)).serialise()
    cosigned = Cosigned(checkpoint.size, checkpoint.root, timestamp, note)
    return Answer(200, line.serialise().encode(), cosigned=cosigned)


def _check_growth(checkpoint: Checkpoint, request: AddCheckpoint, last: Cosigned) -> None:
    if checkpoint.size == 0 and checkpoint.root != EMPTY_ROOT:
        raise ProofError("the root of the empty tree is wrong")
    verify_consistency(last.size, checkpoint.size, last.root, checkpoint.root, request.proof)


def _refusal(status: int, reason: str, *, suspicious: bool = False) -> Answer:
    return Answer(status, f"{reason}\n".encode(), suspicious=suspicious)


# --- the answer, on the log's side --------------------------------------------------------------------------


def parse_response(status: int, body: bytes, *, content_type: str = "") -> tuple[SignatureLine, ...]:
    """The cosignature lines of a witness's answer, unverified: hand them to ``note.add_signatures``.

    Raises:
        WitnessConflictError: 409: the witness has another size.
        WitnessRefusedError: any other status than 200.
        MalformedError: the body has not the form.
    """
    if len(body) > MAX_RESPONSE_BYTES:
        raise MalformedError(f"a witness's answer has at most {MAX_RESPONSE_BYTES} bytes")
    text = body.decode("utf-8", errors="replace")
    if status == 409 and content_type.partition(";")[0].strip() == SIZE_TYPE:
        if not text.endswith("\n"):
            raise MalformedError("a witness's size must end in a line feed")
        raise WitnessConflictError(parse_decimal(text[:-1], "a witness's size"))
    if status != 200:
        raise WitnessRefusedError(status)
    return parse_signature_lines(text)


# --- the witness --------------------------------------------------------------------------------------------

_SCHEMA = """
CREATE TABLE IF NOT EXISTS cosigned (
    origin_hash TEXT PRIMARY KEY, origin TEXT NOT NULL, size TEXT NOT NULL, root BLOB NOT NULL,
    timestamp INTEGER NOT NULL, note BLOB NOT NULL
) STRICT;
CREATE TABLE IF NOT EXISTS suspect (
    id INTEGER PRIMARY KEY, origin_hash TEXT NOT NULL, received INTEGER NOT NULL, request BLOB NOT NULL,
    last_note BLOB NOT NULL
) STRICT;
"""


def origin_hash(origin: str) -> str:
    """Hex SHA-256 of an origin: its name in the monitoring path."""
    return hashlib.sha256(origin.encode()).hexdigest()


class Witness:
    """A cosigning witness with its memory.

    Args:
        database: SQLite file. Who loses it must not start afresh under the same key: the witness could then
            cosign a fork of what it cosigned before.
        cosigner: the key for cosignatures, and nothing else.
        logs: trusted keys by origin; read at each request, so it may grow.
        create: make the database, which must not exist yet; otherwise it must exist.
    Raises:
        StoreError: the database is not there, or is there already.
    """

    def __init__(
        self,
        database: Path,
        cosigner: Cosigner,
        logs: Mapping[str, Sequence[VerifierKey]],
        *,
        create: bool = False,
    ) -> None:
        self._cosigner, self._logs = cosigner, logs
        if create == database.exists():
            raise StoreError(
                "the witness's database exists already: open it"
                if create
                else "the witness's database is missing: restore it, or create a witness with a new key"
            )
        self._lock = threading.Lock()
        self._database = sqlite3.connect(database, isolation_level=None, check_same_thread=False, timeout=10)
        # FULL: a cosignature that was given out must survive a power cut.
        self._database.executescript("PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL;" + _SCHEMA)

    def close(self) -> None:
        """Close the database."""
        self._database.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def verifier(self) -> VerifierKey:
        """The key that readers must know."""
        return self._cosigner.verifier

    def add_checkpoint(self, body: bytes, *, now: int) -> Answer:
        """Answer a request; a cosignature is on disk before it is returned."""
        try:
            request = parse_add_checkpoint(body)
        except MalformedError as error:
            return _refusal(400, str(error))
        origin = request.origin
        # IMMEDIATE takes the write lock before the read: two requests, or two processes, cannot both compare
        # with the same old state.
        with self._lock:
            self._database.execute("BEGIN IMMEDIATE")
            try:
                last = self._last(origin_hash(origin))
                answer = decide(request, keys=self._logs.get(origin, ()), last=last, cosigner=self._cosigner, now=now)
                if answer.cosigned is not None:
                    self._store(origin, answer.cosigned)
                if answer.suspicious:
                    self._keep(origin_hash(origin), body, last.note, now)
                self._database.execute("COMMIT")
            except BaseException:
                self._database.execute("ROLLBACK")
                raise
        if answer.suspicious:
            _log.warning("a log signed a checkpoint that does not continue its last one: kept as evidence")
        return answer

    def checkpoint(self, hashed_origin: str) -> bytes | None:
        """The last cosigned checkpoint of the log with this ``origin_hash``, with both signatures."""
        with self._lock:
            return self._last(hashed_origin).note or None

    def suspects(self, origin: str) -> list[tuple[bytes, bytes]]:
        """Requests that were well signed but not consistent, each with the note cosigned before it."""
        with self._lock:
            rows = self._database.execute(
                "SELECT request, last_note FROM suspect WHERE origin_hash = ? ORDER BY id",
                (origin_hash(origin),),
            )
            return [(bytes(request), bytes(note)) for request, note in rows]

    def _last(self, hashed: str) -> Cosigned:
        row = self._database.execute(
            "SELECT size, root, timestamp, note FROM cosigned WHERE origin_hash = ?", (hashed,)
        ).fetchone()
        return Cosigned() if row is None else Cosigned(int(row[0]), row[1], row[2], row[3])

    def _store(self, origin: str, new: Cosigned) -> None:
        self._database.execute(
            "INSERT INTO cosigned VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT (origin_hash) DO UPDATE SET "
            "size = excluded.size, root = excluded.root, timestamp = excluded.timestamp, note = excluded.note",
            (origin_hash(origin), origin, str(new.size), new.root, new.timestamp, new.note),
        )

    def _keep(self, hashed: str, request: bytes, last_note: bytes, now: int) -> None:
        self._database.execute(
            "INSERT INTO suspect (origin_hash, received, request, last_note) SELECT ?, ?, ?, ? "
            "WHERE (SELECT count(*) FROM suspect WHERE origin_hash = ?) < ?",
            (hashed, now, request, last_note, hashed, MAX_SUSPECTS),
        )


def create_app(witness: Witness, *, clock: Callable[[], float] = time.time) -> Starlette:
    """The witness as an ASGI application: POST /add-checkpoint and GET /<origin hash>/checkpoint."""
    from starlette.applications import Starlette
    from starlette.concurrency import run_in_threadpool
    from starlette.responses import Response
    from starlette.routing import Route

    async def add_checkpoint(request: Request) -> Response:
        body = bytearray()
        async for chunk in request.stream():
            body += chunk
            if len(body) > MAX_REQUEST_BYTES:
                # The rest stays unread, so the connection cannot be used again.
                return Response(b"the request is too long\n", 413, {"connection": "close"}, _TEXT_TYPE)
        answer = await run_in_threadpool(witness.add_checkpoint, bytes(body), now=int(clock()))
        # As a header: as media_type, Starlette would add a charset to text/x.tlog.size.
        return Response(answer.body, answer.status, {"content-type": answer.content_type})

    async def checkpoint(request: Request) -> Response:
        note = await run_in_threadpool(witness.checkpoint, request.path_params["hashed_origin"])
        if note is None:
            return Response(b"nothing cosigned for this origin\n", 404, media_type=_TEXT_TYPE)
        return Response(note, media_type=_TEXT_TYPE)

    return Starlette(
        routes=[
            Route("/add-checkpoint", add_checkpoint, methods=["POST"]),
            Route("/{hashed_origin}/checkpoint", checkpoint, methods=["GET"]),
        ]
    )
