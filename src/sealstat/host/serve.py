"""Running the host: bind, refuse what would be unsafe, serve, stop in good order."""

import asyncio
import ipaddress
import logging
import signal
import socket
import sys
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

import uvicorn
from fastapi import FastAPI
from sqlalchemy.exc import SQLAlchemyError
from uvicorn.protocols.http.h11_impl import H11Protocol

from sealstat.host.app import create_app
from sealstat.host.errors import HostError
from sealstat.host.settings import Settings
from sealstat.host.setup import HostKeys
from sealstat.log.errors import LogError

_HEADER_LIMIT_BYTES = 16 * 1024
_STOP_S = 5


class PatientProtocol(H11Protocol):
    """HTTP/1.1, but who does not finish a request's header, or does not read an answer, is let go (slow loris)."""

    header_timeout_s = 10.0
    read_timeout_s = 60.0
    _timer: asyncio.TimerHandle | None = None
    _write_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: Any) -> None:
        """A caller connects: the clock runs until its first header is there."""
        super().connection_made(transport)
        self._await_header()

    def data_received(self, data: bytes) -> None:
        """Bytes of a header do not stop the clock, a whole header does."""
        cycle = self.cycle
        super().data_received(data)
        if self.cycle is not cycle:
            self._cancel()

    def on_response_complete(self) -> None:
        """The answer is out: the clock runs for the next header."""
        before = self.cycle
        super().on_response_complete()
        if self.cycle is before and not self.transport.is_closing():
            self._await_header()

    def pause_writing(self) -> None:
        """The caller does not read: the clock runs until it does."""
        super().pause_writing()
        self._write_timer = self.loop.call_later(self.read_timeout_s, self.transport.abort)

    def resume_writing(self) -> None:
        """It reads."""
        super().resume_writing()
        if self._write_timer is not None:
            self._write_timer.cancel()

    def connection_lost(self, exc: Exception | None) -> None:
        """The caller is gone."""
        self._cancel()
        super().connection_lost(exc)
        if self._write_timer is not None:
            self._write_timer.cancel()

    def _await_header(self) -> None:
        self._cancel()
        self._timer = self.loop.call_later(self.header_timeout_s, self.transport.close)

    def _cancel(self) -> None:
        if self._timer is not None:
            self._timer.cancel()


class _Server(uvicorn.Server):
    """A server that says when it takes callers, and stops in good order with its long polls answered."""

    def __init__(self, config: uvicorn.Config, app: FastAPI, ready: Callable[[], None]) -> None:
        super().__init__(config)
        self._application, self._ready = app, ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._ready()

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:  # noqa: ARG002
        # not super's: that raises the signal again in the end, as if we had died of it
        self.force_exit = self.should_exit and sig == signal.SIGINT
        self.should_exit = True
        host = getattr(self._application.state, "host", None)
        if host is not None:
            host.interrupt()


def run(
    settings: Settings,
    keys: HostKeys,
    *,
    address: str = "127.0.0.1",
    port: int = 8700,
    tls_cert: Path | None = None,
    tls_key: Path | None = None,
    ready: Callable[[int], None] = lambda _port: None,
) -> None:
    """Serve until SIGINT or SIGTERM; then answer what is open, and close the files.

    Args:
        address: numeric or a name; beyond loopback only with TLS.
        port: 0 for any free one.
        ready: called with the port once callers are taken.
    Raises:
        HostError: it would be reachable from elsewhere without TLS, the address is taken, or the home is unsound.
    """
    if (tls_cert is None) != (tls_key is None):
        raise HostError("TLS needs both a certificate and its key: give --tls-cert and --tls-key")
    if tls_cert is None and not is_loopback(address):
        raise HostError(f"beyond loopback the host serves with TLS only: give --tls-cert and --tls-key for {address}")
    if tls_cert is not None and not settings.url.startswith("https://"):
        raise HostError("with TLS the host's url begins with https: callers sign the address they see")
    app = create_app(settings, keys)
    protocol = type("Protocol", (PatientProtocol,), {"header_timeout_s": settings.limits.header_timeout_s})
    listening = _listen(address, port)
    config = uvicorn.Config(
        app,
        http=protocol,
        ws="none",
        loop="asyncio",
        lifespan="on",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        limit_concurrency=settings.limits.connections,
        backlog=256,
        timeout_keep_alive=int(settings.limits.header_timeout_s) + 1,
        timeout_graceful_shutdown=_STOP_S,
        h11_max_incomplete_event_size=_HEADER_LIMIT_BYTES,
        ssl_certfile=tls_cert,
        ssl_keyfile=tls_key,
    )
    bound = listening.getsockname()[1]
    server = _Server(config, app, lambda: ready(bound))
    try:
        asyncio.run(server.serve(sockets=[listening]))
    except SystemExit:
        failure = getattr(app.state, "failure", None)
        if isinstance(failure, HostError | LogError | OSError | SQLAlchemyError):
            raise HostError(f"the host did not start: {failure}") from failure
        raise failure or HostError("the host did not start") from None
    finally:
        listening.close()


def is_loopback(address: str) -> bool:
    """Whether an address can be reached from this machine only."""
    if address == "localhost":
        return True
    try:
        return ipaddress.ip_address(address).is_loopback
    except ValueError:
        return False


def log_to(stream: Any = sys.stderr) -> None:
    """Write the host's log, and nothing of the server's own, as plain lines."""
    handler = logging.StreamHandler(stream)
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    logger = logging.getLogger("sealstat.host")
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    logging.getLogger("uvicorn").setLevel(logging.CRITICAL)


def _listen(address: str, port: int) -> socket.socket:
    try:
        family, kind, protocol, _, where = socket.getaddrinfo(address, port, type=socket.SOCK_STREAM)[0]
        # with its protocol named, or asyncio would not turn Nagle off: 40 ms more for each answer
        listening = socket.socket(family, kind, protocol)
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(where)
    except OSError as error:
        raise HostError(f"cannot listen on {address} port {port}: {error.strerror}") from error
    return listening


__all__ = ["is_loopback", "log_to", "run"]
