"""Calls to the host: every one signed by the caller's card, every answer held against its digest."""

import json
import os
import ssl
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from hashlib import sha256
from typing import Any

import httpx

from sealstat.crypto import canonical
from sealstat.crypto.cards import InstanceCard
from sealstat.crypto.errors import CryptoError
from sealstat.crypto.identity import Signer
from sealstat.crypto.statement import Statement
from sealstat.log.errors import MissingTileError
from sealstat.log.tiles import MAX_BUNDLE_BYTES
from sealstat.wire.errors import HostRefusal, MissingError, TamperedError, WireError
from sealstat.wire.signing import sign_request

BLOB_LIMIT_BYTES = 33 * 1024 * 1024
_ANSWER_LIMIT_BYTES = 1 << 20
MAX_READ = 64  # statements in one answer: with the limit on one, at most 16 MiB
_READ_LIMIT_BYTES = 17 << 20
_TRIES = 4
_PAUSE_S = 0.25


def authorities() -> ssl.SSLContext | bool:
    """Who may vouch for a host's name: the public authorities, or those in the file that SEALSTAT_CA_FILE names.

    Raises:
        WireError: there is no such file, or no certificate in it.
    """
    file = os.environ.get("SEALSTAT_CA_FILE")
    if not file:
        return True
    try:
        return ssl.create_default_context(cafile=file)
    except OSError as error:  # ssl.SSLError is one
        raise WireError(f"SEALSTAT_CA_FILE names {file}, which holds no certificates that can be read") from error


@dataclass
class HostClient:
    """One caller's connection to one host; usable from several threads.

    Attributes:
        url: the host's address as it knows itself, without a path.
        fingerprint: of the caller's card.
    """

    url: str
    signer: Signer = field(repr=False)
    fingerprint: str
    timeout_s: float = 30.0

    def __post_init__(self) -> None:
        self.url = self.url.rstrip("/")
        limits = httpx.Limits(max_connections=8, max_keepalive_connections=4)
        # no proxy and no other surprise from the environment: the address is the agreement's
        self._http = httpx.Client(
            timeout=self.timeout_s,
            limits=limits,
            trust_env=False,
            follow_redirects=False,
            # reading all authorities takes longer than most calls, and plain HTTP (loopback) needs none
            verify=False if self.url.lower().startswith("http:") else authorities(),
        )

    def close(self) -> None:
        """Let go of the connections."""
        self._http.close()

    # -- statements and the log ---------------------------------------------------------------------------------

    def send(self, statement: Statement) -> dict[str, Any]:
        """Send a statement; the host's receipt, as it stands (a promise to be held against the log)."""
        return self._json("POST", "/v1/statements", statement.to_bytes())

    def introduce(self, statement: Statement) -> None:
        """Send a recovery key's replacement, as the holder of the new card in it."""
        self._call("POST", "/v1/replacements", statement.to_bytes())

    def statement(self, id: str) -> bytes:
        """The envelope of a statement of one of the caller's agreements.

        Raises:
            MissingError: the host does not give it.
        """
        return self._call("GET", f"/v1/statements/{id}", limit=_ANSWER_LIMIT_BYTES).content

    def statements(self, ids: Sequence[str]) -> list[bytes | None]:
        """The envelopes of several statements, in the order of their ids; None for what the host does not give.

        Raises:
            WireError: the answer is no such list.
        """
        found: list[bytes | None] = []
        for start in range(0, len(ids), MAX_READ):
            asked = list(ids[start : start + MAX_READ])
            body = canonical.encode(asked)
            answer = self._call("POST", "/v1/statements/read", body, limit=_READ_LIMIT_BYTES).content
            try:
                given = json.loads(answer)
                # the envelopes as they were stored: their one form is the canonical one
                read = [None if each is None else canonical.encode(each) for each in given]
            except (ValueError, TypeError, RecursionError, CryptoError) as error:
                raise WireError(f"the host at {self.url} did not answer with statements") from error
            if len(read) != len(asked):
                raise WireError(f"the host at {self.url} answered with another number of statements")
            found += read
        return found

    def log_file(self, path: str) -> bytes:
        """A file of the log: the checkpoint or a tile."""
        try:
            return self._call("GET", f"/log/{path}", limit=MAX_BUNDLE_BYTES + 1).content
        except MissingError:
            raise MissingTileError(path) from None

    def wait(self, size: int, seconds: float) -> int:
        """Wait until a cosigned checkpoint is larger than ``size``, or the seconds are over; its size."""
        answer = self._json("GET", f"/v1/wait?size={size}&seconds={max(0, min(25, int(seconds)))}").get("size")
        if type(answer) is not int:
            raise WireError(f"the host at {self.url} did not answer with the size of its log")
        return answer

    def health(self) -> dict[str, Any]:
        """What the host says of itself."""
        return self._json("GET", "/health")

    # -- blobs ----------------------------------------------------------------------------------------------------

    def put_blob(self, agreement: str, data: bytes) -> str:
        """Store a blob under its SHA-256, which is returned."""
        digest = sha256(data).hexdigest()
        self._call("PUT", f"/v1/agreements/{agreement}/blobs/{digest}", data)
        return digest

    def get_blob(self, agreement: str, digest: str, *, limit: int = BLOB_LIMIT_BYTES) -> bytes:
        """The blob with this SHA-256, checked.

        Raises:
            MissingError: it is not there.
            TamperedError: the host gave something else.
        """
        data = self._call("GET", f"/v1/agreements/{agreement}/blobs/{digest}", limit=limit).content
        if sha256(data).hexdigest() != digest:
            raise TamperedError(f"the host gave something else than blob {digest[:16]}…: tell its operator")
        return data

    def missing_blobs(self, agreement: str, digests: Iterable[str]) -> list[str]:
        """Which of these blobs the host does not have yet; never anything that was not asked for."""
        wanted, missing = list(digests), []
        for start in range(0, len(wanted), 5_000):
            asked = wanted[start : start + 5_000]
            try:
                answer = self._call(
                    "POST", f"/v1/agreements/{agreement}/blobs/missing", json.dumps(asked).encode()
                ).json()
            except ValueError as error:
                raise WireError(f"the host at {self.url} did not answer with JSON") from error
            if not isinstance(answer, list):
                raise WireError(f"the host at {self.url} did not answer with a list of digests")
            # callers read what is missing from their disk by its name: the host must not choose that name
            named = {digest for digest in answer if isinstance(digest, str)}
            missing += [digest for digest in asked if digest in named]
        return missing

    # -- instances --------------------------------------------------------------------------------------------------

    def register_instance(self, card: InstanceCard, door: str) -> None:
        """Show the door token and the card, so that the host knows who calls."""
        self._call("POST", "/v1/instances", json.dumps({"card": card.to_json(), "door": door}).encode())

    # -- plumbing -----------------------------------------------------------------------------------------------------

    def _json(self, method: str, path: str, body: bytes = b"") -> dict[str, Any]:
        try:
            value = self._call(method, path, body, limit=_ANSWER_LIMIT_BYTES).json()
        except ValueError as error:
            raise WireError(f"the host at {self.url} did not answer with JSON") from error
        if not isinstance(value, dict):
            raise WireError(f"the host at {self.url} did not answer with a JSON object")
        return value

    def _call(self, method: str, path: str, body: bytes = b"", *, limit: int = _ANSWER_LIMIT_BYTES) -> httpx.Response:
        """One request, tried again while the host is away or too busy; every call may be repeated."""
        for attempt in range(_TRIES):
            last = attempt == _TRIES - 1
            try:
                response = self._once(method, path, body, limit)
            except httpx.HTTPError as error:
                if last:
                    raise WireError(f"the host at {self.url} cannot be reached: is it running?") from error
            else:
                if response.status_code < 400:
                    return response
                if last or response.status_code not in (429, 500, 502, 503, 504):
                    raise self._refusal(response, path)
            time.sleep(_PAUSE_S * 2**attempt)
        raise AssertionError("unreachable")

    def _once(self, method: str, path: str, body: bytes, limit: int) -> httpx.Response:
        url = self.url + path
        headers = sign_request(
            method,
            url,
            body_sha256=sha256(body).digest(),
            key=self.signer.ed25519,
            fingerprint=self.fingerprint,
            now=datetime.now(UTC),
        )
        with self._http.stream(method, url, content=body, headers=headers) as response:
            chunks, size = [], 0
            for chunk in response.iter_bytes():
                size += len(chunk)
                if size > limit:
                    raise WireError(f"the host at {self.url} answered with more than {limit} bytes")
                chunks.append(chunk)
            return httpx.Response(response.status_code, content=b"".join(chunks))

    def _refusal(self, response: httpx.Response, path: str) -> WireError:
        try:
            error = response.json()["error"]
            code, message = str(error["code"])[:64], str(error["message"])[:500]
        except (ValueError, KeyError, TypeError):
            code, message = "unknown", f"the host answered with status {response.status_code}"
        if response.status_code == 404:
            return MissingError(f"not with the host, or not for this card: {path.split('?', maxsplit=1)[0]}")
        return HostRefusal(status=response.status_code, code=code, message=f"the host refuses: {message}")
