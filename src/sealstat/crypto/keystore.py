"""Secrets at rest: one file, encrypted under a passphrase (scrypt, RFC 7914; AES-256-GCM), mode 0600."""

import json
import os
import secrets
import stat
from pathlib import Path
from typing import Any

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.scrypt import Scrypt

from sealstat.crypto import canonical
from sealstat.crypto.cards import b64, unb64
from sealstat.crypto.errors import KeystoreError, MalformedError

_N, _R, _P = 2**16, 8, 1  # 64 MiB and some 0.2 s a guess
_LIMIT_BYTES = 1 << 20


def write(path: Path, secret: dict[str, Any], passphrase: str) -> None:
    """Encrypt a JSON value into a new or replaced file; the old one stays whole until the new one is on disk."""
    salt, nonce = secrets.token_bytes(16), secrets.token_bytes(12)
    header = {
        "kdf": "scrypt",
        "n": _N,
        "nonce": b64(nonce),
        "p": _P,
        "r": _R,
        "salt": b64(salt),
        "version": 1,
    }
    key = Scrypt(salt, 32, _N, _R, _P).derive(passphrase.encode())
    sealed = AESGCM(key).encrypt(nonce, canonical.encode(secret), canonical.encode(header))
    write_private(path, canonical.encode({**header, "sealed": b64(sealed)}) + b"\n")


def read(path: Path, passphrase: str) -> dict[str, Any]:
    """The secrets in a keystore file.

    Raises:
        KeystoreError: no such file, others may read it, it is damaged, or the passphrase is wrong.
    """
    try:
        mode = stat.S_IMODE(path.stat().st_mode)
        data = path.read_bytes()
    except OSError as error:
        raise KeystoreError(f"cannot read the keystore {path}: {error.strerror}") from error
    if mode & 0o077:
        raise KeystoreError(f"the keystore {path} has mode {mode:o}: others may read it; run chmod 600 {path}")
    try:
        value = canonical.decode(data.strip(), limit=_LIMIT_BYTES)
        sealed = unb64(value.pop("sealed"))
        if (value["kdf"], value["n"], value["r"], value["p"]) != ("scrypt", _N, _R, _P):
            raise MalformedError("unknown key derivation")
        key = Scrypt(unb64(value["salt"]), 32, _N, _R, _P).derive(passphrase.encode())
        plain = AESGCM(key).decrypt(unb64(value["nonce"]), sealed, canonical.encode(value))
    except InvalidTag as error:
        raise KeystoreError(f"the passphrase does not open the keystore {path}") from error
    except (MalformedError, KeyError, TypeError, AttributeError, ValueError) as error:
        raise KeystoreError(f"the keystore {path} is damaged: restore it from a backup") from error
    return dict(json.loads(plain))


def write_private(path: Path, data: bytes) -> None:
    """Write a file that only its owner may read, whole or not at all (temporary file, fsync, rename)."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        with os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
    finally:
        temporary.unlink(missing_ok=True)
