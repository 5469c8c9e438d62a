"""The first program in a Nitro enclave: a way out through the parent, then the launcher.

An enclave has no network; its parent (context 3) passes connections on. What the parent says is trusted for nothing:
the host's address and the token for the host's own door. TLS ends in here, and statements carry their own signatures.
"""

import contextlib
import fcntl
import json
import socket
import struct
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit

PARENT, TOLD_AT = 3, 9000
_LIMIT_BYTES = 4096


def interface_up(name: bytes) -> None:
    """Bring an interface up: an enclave starts with its loopback down."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        fcntl.ioctl(any_socket, 0x8914, struct.pack("16sh14x", name, 0x1 | 0x40))  # SIOCSIFFLAGS, IFF_UP | IFF_RUNNING


def told(parent: socket.socket) -> tuple[str, str]:
    """(address of the host, token) from one JSON object that the parent sends."""
    data = b""
    while piece := parent.recv(_LIMIT_BYTES):
        data += piece
        if len(data) > _LIMIT_BYTES:
            raise SystemExit("the parent says more than an address and a token")
    said = json.loads(data)
    return str(said["host"]), str(said["token"])


def forward(listening: socket.socket, connect: Callable[[], socket.socket]) -> None:
    """Pass each connection on, both ways, until the listening socket is closed."""

    def copy(one: socket.socket, other: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := one.recv(65536):
                other.sendall(data)
        with contextlib.suppress(OSError):
            other.shutdown(socket.SHUT_WR)

    def serve(near: socket.socket) -> None:
        with near, connect() as far:
            back = threading.Thread(target=copy, args=(far, near), daemon=True)
            back.start()
            copy(near, far)
            back.join()

    with contextlib.suppress(OSError):
        while True:
            near, _ = listening.accept()
            threading.Thread(target=serve, args=(near,), daemon=True).start()


def to_parent(port: int) -> socket.socket:
    """A connection to a port of the parent."""
    made = socket.socket(socket.AF_VSOCK, socket.SOCK_STREAM)
    made.connect((PARENT, port))
    return made


def main() -> int:
    """Serve until the launcher ends."""
    interface_up(b"lo")
    with to_parent(TOLD_AT) as parent:
        host, token = told(parent)
    address = urlsplit(host)
    port = address.port or 443
    Path("/etc/hosts").write_text(f"127.0.0.1 localhost {address.hostname}\n")
    Path("/run/launcher.token").write_text(token)
    listening = socket.create_server(("127.0.0.1", port))
    threading.Thread(target=forward, args=(listening, lambda: to_parent(port)), daemon=True).start()
    command = ["/usr/local/bin/sealstat", "enclave", "serve", "--attester", "nitro"]
    command += [
        "--scratch",
        "/run",
        "--host",
        host,
        "--token",
        "/run/launcher.token",
    ]  # all of it memory of the enclave
    return subprocess.run(command, check=False).returncode  # noqa: S603 - a list, and no shell


if __name__ == "__main__":
    sys.exit(main())
