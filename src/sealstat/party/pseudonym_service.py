"""The pseudonymiser as a local HTTP service, for the operator's own data unit (docs/pseudonyms.md).

`POST /pseudonyms`: identifiers, a line each, in; pseudonyms, a line each, out, in the same order, while the rest is
still coming in. It listens on loopback only, and asks for a token, since other users of the machine reach loopback too.

A plain ASGI application: a framework's streaming answer would read the request to notice a disconnect.
"""

from __future__ import annotations

import asyncio
import hmac
import logging
import secrets
import signal
import socket
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute
import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from sealstat.crypto.keystore import write_private
from sealstat.party.errors import PartyError
from sealstat.party.period_keys import is_closed
from sealstat.party.pseudonymiser import Pseudonymiser
from sealstat.tables.period_pseudonyms import Kind, hex_digits, well_formed
from sealstat.tables.schemas import PSEUDONYM_BYTES

pc: Any = pyarrow.compute  # its stubs know fewer argument types than its functions

MAX_LINE_BYTES = 64
MAX_BODY_BYTES = 1 << 30
BUFFER_BYTES = 64 << 20
"""How much answer is kept for a caller that sends everything before it reads: about 2 million pseudonyms as text."""

_IDLE_S = 60.0
_LOOK_S = 1.0
_BINARY = b"application/octet-stream"


class BadRequestError(Exception):
    """A request that is answered with a status and a sentence; with neither, once the answer has begun."""

    def __init__(self, status: int, sentence: str) -> None:
        self.status = status
        super().__init__(sentence)


class _Gone(Exception):  # noqa: N818 - nobody is left to tell
    """The caller hung up."""


class Lines:
    """Pseudonyms of identifiers that come in pieces.

    An identifier that is not of its kind's form is answered by a line with ``-``, in binary by 16 zero bytes.
    """

    def __init__(self, pseudonymiser: Pseudonymiser, kind: Kind, *, binary: bool) -> None:
        self._pseudonymiser, self._kind, self._binary = pseudonymiser, kind, binary
        self._carried = b""

    def feed(self, data: bytes) -> bytes:
        """The answer to the lines that end in this piece.

        Raises:
            BadRequestError: a line is too long.
            PartyError: the period was closed.
        """
        data = self._carried + data
        end = data.rfind(b"\n") + 1
        self._carried = data[end:]
        if len(self._carried) > MAX_LINE_BYTES:
            raise BadRequestError(400, f"a line is longer than {MAX_LINE_BYTES} bytes: expected an identifier a line")
        return self._answer(data[: end - 1]) if end else b""

    def finish(self) -> bytes:
        """The answer to a last line without an end."""
        last, self._carried = self._carried, b""
        return self._answer(last) if last else b""

    def _answer(self, lines: bytes) -> bytes:
        identifiers = pc.split_pattern(pa.array([lines], pa.large_binary()), b"\n").flatten()
        if b"\r" in lines:
            identifiers = pa.array([line.removesuffix(b"\r") for line in identifiers.to_pylist()], pa.large_binary())
        good = well_formed(identifiers, self._kind)
        kept = identifiers if good.all() else identifiers.filter(pa.array(good))
        made = self._pseudonymiser.pseudonyms(kept, self._kind)
        if self._binary:
            buffers: list[Any] = made.buffers()
            found = np.zeros((len(good), PSEUDONYM_BYTES), np.uint8)
            found[good] = np.frombuffer(buffers[1], np.uint8, len(made) * PSEUDONYM_BYTES).reshape(-1, PSEUDONYM_BYTES)
            return found.tobytes()
        width = 2 * PSEUDONYM_BYTES
        text = np.full((len(good), width + 1), ord("\n"), np.uint8)
        text[good, :width] = hex_digits(made)
        if good.all():
            return text.tobytes()
        text[~good, 0] = ord("-")
        whole = np.ones(text.shape, bool)
        whole[~good, 2:] = False  # of a bad one: the dash and one line end
        return text[whole].tobytes()


class _Answer:
    """Bytes on their way from the reader of a request to its caller, no more than a limit at a time."""

    def __init__(self) -> None:
        self._waiting: deque[bytes] = deque()
        self._size, self._ended = 0, False
        self._error: BaseException | None = None
        self._changed = asyncio.Condition()

    async def put(self, data: bytes) -> None:
        async with self._changed:
            await self._changed.wait_for(lambda: self._size < BUFFER_BYTES)
            self._waiting.append(data)
            self._size += len(data)
            self._changed.notify_all()

    async def end(self, error: BaseException | None = None) -> None:
        async with self._changed:
            self._ended, self._error = True, error
            self._changed.notify_all()

    async def get(self) -> bytes | None:
        """What waits, or None at the end."""
        async with self._changed:
            await self._changed.wait_for(lambda: self._waiting or self._ended)
            if self._waiting:
                found = self._waiting.popleft()
                self._size -= len(found)
                self._changed.notify_all()
                return found
            if self._error is not None:
                raise self._error
            return None


@dataclass(frozen=True)
class Service:
    """The ASGI application."""

    pseudonymiser: Pseudonymiser
    kind: Kind
    token: str
    port: int

    async def __call__(self, scope: Mapping[str, Any], receive: Callable[..., Any], send: Callable[..., Any]) -> None:
        """Answer one request."""
        assert scope["type"] == "http"
        headers: dict[bytes, bytes] = dict(scope["headers"])
        try:
            self._admit(scope, headers)
            if scope["path"] == "/health":
                await _say(send, 200, "ok")
                return
            await self._pseudonyms(headers, receive, send)
        except BadRequestError as error:
            await _say(send, error.status, str(error))
        except PartyError as error:  # closed, or no key yet
            await _say(send, 409, str(error))

    def _admit(self, scope: Mapping[str, Any], headers: Mapping[bytes, bytes]) -> None:
        # by its name: a page of another site whose name was turned to this machine must not get through a browser
        if headers.get(b"host", b"").decode("latin-1") not in {f"127.0.0.1:{self.port}", f"localhost:{self.port}"}:
            raise BadRequestError(403, "this service is for this machine only")
        if scope["path"] == "/health" and scope["method"] == "GET":
            return
        given = headers.get(b"authorization", b"")
        if not hmac.compare_digest(given, f"Bearer {self.token}".encode()):
            raise BadRequestError(401, "the token is missing or wrong: send the line of the token file as a header")
        if scope["path"] != "/pseudonyms":
            raise BadRequestError(404, "expected /pseudonyms or /health")
        if scope["method"] != "POST":
            raise BadRequestError(405, "expected a POST of identifiers, a line each")
        announced = headers.get(b"content-length", b"0")
        if not announced.isdigit() or len(announced) > 19 or int(announced) > MAX_BODY_BYTES:
            raise BadRequestError(413, f"the request is larger than {MAX_BODY_BYTES} bytes: send it in pieces")

    async def _pseudonyms(self, headers: Mapping[bytes, bytes], receive: Callable[..., Any], send: Any) -> None:
        binary = headers.get(b"accept") == _BINARY
        lines, answer = Lines(self.pseudonymiser, self.kind, binary=binary), _Answer()
        self.pseudonymiser.period_key()
        reader = asyncio.create_task(_read(lines, answer, receive))
        try:
            # what is wrong with the first piece can still be said; what comes later cuts the answer off, unmistakably
            piece = await answer.get()
            kind = _BINARY if binary else b"text/plain; charset=us-ascii"
            shown = [(b"content-type", kind), (b"cache-control", b"no-store")]
            await send({"type": "http.response.start", "status": 200, "headers": shown})
            while piece is not None:
                await send({"type": "http.response.body", "body": piece, "more_body": True})
                try:
                    piece = await answer.get()
                except (BadRequestError, PartyError):
                    return  # without an end, so that the caller sees that there is none
            await send({"type": "http.response.body", "body": b""})
        except _Gone:
            return
        finally:
            reader.cancel()
            with suppress(asyncio.CancelledError):
                await reader


async def _read(lines: Lines, answer: _Answer, receive: Callable[..., Any]) -> None:
    """Turn a request's body into its answer."""
    received, more = 0, True
    try:
        while more:
            async with asyncio.timeout(_IDLE_S):
                message = await receive()
            if message["type"] == "http.disconnect":
                raise _Gone
            received += len(message.get("body", b""))
            if received > MAX_BODY_BYTES:
                raise BadRequestError(413, f"the request is larger than {MAX_BODY_BYTES} bytes: send it in pieces")
            if made := lines.feed(message.get("body", b"")):
                await answer.put(made)
            more = message.get("more_body", False)
        if made := lines.finish():
            await answer.put(made)
    except TimeoutError:
        await answer.end(BadRequestError(408, f"nothing came for {_IDLE_S:.0f} s: send it again"))
    except Exception as error:  # noqa: BLE001 - whoever waits for the answer must hear of it
        await answer.end(error)
    else:
        await answer.end()


async def _say(send: Callable[..., Any], status: int, sentence: str) -> None:
    headers = [
        (b"content-type", b"text/plain; charset=utf-8"),
        (b"cache-control", b"no-store"),
        (b"connection", b"close"),
    ]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": f"{sentence}\n".encode()})


class _Protocol(H11Protocol):
    """HTTP/1.1, but a caller that does not read its answer is let go: it would wait for us, and we for it, for ever."""

    _timer: asyncio.TimerHandle | None = None

    def pause_writing(self) -> None:
        """The caller does not read: the clock runs until it does."""
        super().pause_writing()
        self._timer = self.loop.call_later(_IDLE_S, self.transport.abort)

    def resume_writing(self) -> None:
        """It reads."""
        super().resume_writing()
        self._stop_clock()

    def connection_lost(self, exc: Exception | None) -> None:
        """The caller is gone."""
        super().connection_lost(exc)
        self._stop_clock()

    def _stop_clock(self) -> None:
        if self._timer is not None:
            self._timer.cancel()


class _Server(uvicorn.Server):
    """Stops in good order, and does not raise the signal again in the end as if it had died of it."""

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:  # noqa: ARG002
        self.force_exit = self.should_exit and sig == signal.SIGINT
        self.should_exit = True


def serve(
    pseudonymiser: Pseudonymiser, *, kind: Kind = "imsi", port: int = 0, ready: Callable[[str, Path], None]
) -> None:
    """Serve on loopback until a signal, or until the period is closed.

    Args:
        port: 0 for any free one.
        ready: called with the address, and the file (mode 0600, removed at the end) whose one line is the header that
            callers must send.
    Raises:
        PartyError: there is no key, or the port is taken.
    """
    pseudonymiser.period_key()
    listening = socket.socket()
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind(("127.0.0.1", port))
    except OSError as error:
        listening.close()
        raise PartyError(f"cannot listen on 127.0.0.1 port {port}: {error.strerror}") from error
    listening.listen()
    bound = int(listening.getsockname()[1])
    logging.getLogger("uvicorn").setLevel(logging.CRITICAL)  # an answer cut off on purpose is no error to print
    with listening, _token(pseudonymiser.home.path / f"pseudonymise-{bound}.token") as (token, file):
        config = uvicorn.Config(
            Service(pseudonymiser, kind, token, bound),
            http=_Protocol,
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,
            limit_concurrency=64,
            timeout_keep_alive=10,
            timeout_graceful_shutdown=5,
        )
        ready(f"http://127.0.0.1:{bound}/", file)
        asyncio.run(_until_closed(_Server(config), listening, pseudonymiser))


async def _until_closed(server: uvicorn.Server, listening: socket.socket, pseudonymiser: Pseudonymiser) -> None:
    async def look() -> None:
        while not is_closed(pseudonymiser.home.ledger, pseudonymiser.ref):  # noqa: ASYNC110 - another process closes it
            await asyncio.sleep(_LOOK_S)
        server.should_exit = True

    looking = asyncio.create_task(look())
    await server.serve(sockets=[listening])
    looking.cancel()
    with suppress(asyncio.CancelledError):
        await looking


@contextmanager
def _token(file: Path) -> Iterator[tuple[str, Path]]:
    token = secrets.token_urlsafe(32)
    # a whole header line, so that `curl -H @FILE` sends it and no list of processes shows it
    write_private(file, f"Authorization: Bearer {token}\n".encode())
    try:
        yield token, file
    finally:
        file.unlink(missing_ok=True)
