"""The doors of the API: addresses, their callers, their limits. What happens behind them is service.py's."""

import json
import time
from collections.abc import AsyncIterator
from dataclasses import asdict
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query, Request, Response
from fastapi.responses import FileResponse, JSONResponse
from sqlalchemy import func, select
from starlette.concurrency import run_in_threadpool

import sealstat
from sealstat.crypto import canonical
from sealstat.crypto import statement as statements
from sealstat.crypto.cards import CARD_LIMIT_BYTES, Digest, InstanceCard, parse_card
from sealstat.crypto.errors import CryptoError
from sealstat.host import launches
from sealstat.host import store as tables
from sealstat.host.bodies import check_digest, read_all
from sealstat.host.errors import RefusedError, not_found
from sealstat.host.sequencer import introduced, is_left, may_read
from sealstat.host.service import Host, done
from sealstat.log.errors import LogError
from sealstat.wire.client import MAX_READ
from sealstat.wire.signing import SignedRequest

MAX_WAIT_S = 25
MAX_DIGESTS = 10_000
_DIGESTS_LIMIT_BYTES = MAX_DIGESTS * 72
_INSTANCE_LIMIT_BYTES = CARD_LIMIT_BYTES + 1024
_REPLACEMENT_LIMIT_BYTES = 2 * CARD_LIMIT_BYTES

router = APIRouter()


# -- dependencies ------------------------------------------------------------------------------------------------


def _host(request: Request) -> Host:
    host: Host = request.app.state.host
    return host


async def _signed(request: Request) -> AsyncIterator[SignedRequest]:
    """A request signed by a known card (RFC 9421, tag sealstat-v1)."""
    host = _host(request)
    signed = await host.authenticate(request)
    host.rates.enter(signed.fingerprint, now=time.monotonic())
    try:
        yield signed
    finally:
        host.rates.leave(signed.fingerprint)


def _launcher(request: Request) -> None:
    """The launcher of the host's own house."""
    _host(request).check_launcher(request)


TheHost = Annotated[Host, Depends(_host)]
Signed = Annotated[SignedRequest, Depends(_signed)]


# -- doors ---------------------------------------------------------------------------------------------------------


@router.get("/health", summary="Who this host is and how far its log is")
async def health(host: TheHost) -> dict[str, Any]:
    def count() -> int:
        with host.store.reading() as connection:
            return int(connection.execute(select(func.count()).select_from(tables.agreements)).scalar_one())

    return {
        "name": host.keys.card.name,
        "card": host.keys.card.to_json(),
        "fingerprint": host.keys.fingerprint,
        "version": sealstat.__version__,
        "agreements": await run_in_threadpool(count),
        "log": {
            "origin": host.keys.card.origin,
            "size": host.log.size,
            "cosigned": host.cosigning.published_size,
            "fault": "a witness has seen a larger log than this" if host.cosigning.ahead else None,
        },
    }


@router.get("/log/{path:path}", summary="The log's static files (C2SP tlog-tiles): checkpoint and tile/...")
async def log_file(host: TheHost, path: str) -> Response:
    try:
        data = await run_in_threadpool(host.log.read, path)
    except LogError as error:
        raise RefusedError(404, "not-found", "the log has no such file") from error
    if path == "checkpoint":
        return Response(data, media_type="text/plain; charset=utf-8", headers={"cache-control": "no-store"})
    headers = {"cache-control": "public, max-age=31536000, immutable"}
    return Response(data, media_type="application/octet-stream", headers=headers)


_OCTETS: Any = {"requestBody": {"content": {"application/octet-stream": {}}, "required": True}}
_JSON: Any = {"requestBody": {"content": {"application/json": {}}, "required": True}}


@router.post("/v1/statements", summary="Hand in a signed statement; its receipt", openapi_extra=_JSON)
async def post_statement(request: Request, host: TheHost, signed: Signed) -> dict[str, Any]:
    body = await read_all(request, host.settings.limits.statement_bytes, host.settings.limits)
    check_digest(body, signed.body_sha256)
    return await host.accept(body, signed.fingerprint)


@router.post("/v1/replacements", summary="Hand in a recovery key's replacement, by the new card", openapi_extra=_JSON)
async def post_replacement(request: Request, host: TheHost) -> dict[str, Any]:
    body = await read_all(request, _REPLACEMENT_LIMIT_BYTES, host.settings.limits)
    try:
        card = introduced(statements.parse(body))
    except CryptoError as error:
        raise RefusedError(400, "malformed", f"the replacement was not taken: {error}") from error
    if card is None:
        raise RefusedError(400, "malformed", "expected a replacement by a recovery key")
    signed = await host.authenticate(request, own_card=card)
    check_digest(body, signed.body_sha256)
    return await host.accept(body, signed.fingerprint)


@router.get("/v1/statements/{id}", summary="A statement's envelope, for the parties of its agreement")
async def get_statement(host: TheHost, signed: Signed, id: Digest) -> Response:
    (envelope,) = await run_in_threadpool(_envelopes, host, [id], signed.fingerprint)
    if envelope is None:
        raise not_found()
    return Response(envelope, media_type="application/json")


@router.post(
    "/v1/statements/read",
    summary="Several statements' envelopes in the order of their ids, null for what is not there",
    openapi_extra=_JSON,
)
async def read_statements(request: Request, host: TheHost, signed: Signed) -> Response:
    body = await read_all(request, _DIGESTS_LIMIT_BYTES, host.settings.limits)
    check_digest(body, signed.body_sha256)
    wanted = _json(body)
    if not isinstance(wanted, list) or len(wanted) > MAX_READ or not all(map(_is_digest, wanted)):
        raise RefusedError(400, "malformed", f"expected a JSON list of at most {MAX_READ} ids")
    found = await run_in_threadpool(_envelopes, host, wanted, signed.fingerprint)
    return Response(b"[" + b",".join(each or b"null" for each in found) + b"]", media_type="application/json")


def _envelopes(host: Host, ids: list[str], caller: str) -> list[bytes | None]:
    """The envelopes of those statements that the caller may read."""
    table = tables.statements.c
    wanted = select(table.id, table.agreement, table.type, table.envelope).where(table.id.in_(ids))
    with host.store.reading() as connection:
        rows = {row.id: row for row in connection.execute(wanted)}
        may = {agreement: may_read(connection, agreement, caller) for agreement in {r.agreement for r in rows.values()}}
        return [
            bytes(row.envelope)
            if row is not None
            and (may[row.agreement] or (row.type == "agreement" and is_left(connection, row.agreement, caller)))
            else None
            for row in map(rows.get, ids)
        ]


@router.put("/v1/agreements/{agreement}/blobs/{digest}", summary="Store ciphertext", openapi_extra=_OCTETS)
async def put_blob(
    request: Request, host: TheHost, signed: Signed, agreement: Digest, digest: Digest
) -> dict[str, Any]:
    await host.member_only(agreement, signed.fingerprint)
    if signed.body_sha256.hex() != digest:
        raise RefusedError(400, "wrong-digest", "the signed digest of the body is not the one in the address")
    size = await host.receive_blob(request, agreement, digest, signed.fingerprint)
    return {"sha256": digest, "size": size}


@router.head("/v1/agreements/{agreement}/blobs/{digest}", summary="Whether ciphertext is stored")
@router.get("/v1/agreements/{agreement}/blobs/{digest}", summary="Stored ciphertext; one byte range may be asked for")
async def get_blob(request: Request, host: TheHost, signed: Signed, agreement: Digest, digest: Digest) -> Response:
    await host.member_only(agreement, signed.fingerprint, to_read=True)
    ranges = request.headers.get("range", "")
    if len(ranges) > 64 or "," in ranges:
        raise RefusedError(416, "bad-range", "ask for one range of bytes")
    if await run_in_threadpool(host.blob_size, agreement, digest) is None:
        raise not_found()
    return FileResponse(host.blobs.path(agreement, digest), media_type="application/octet-stream")


@router.post(
    "/v1/agreements/{agreement}/blobs/missing",
    summary="Which of some blobs are not stored",
    openapi_extra=_JSON,
)
async def missing(request: Request, host: TheHost, signed: Signed, agreement: Digest) -> JSONResponse:
    await host.member_only(agreement, signed.fingerprint, to_read=True)
    body = await read_all(request, _DIGESTS_LIMIT_BYTES, host.settings.limits)
    check_digest(body, signed.body_sha256)
    wanted = _json(body)
    if not isinstance(wanted, list) or len(wanted) > MAX_DIGESTS or not all(map(_is_digest, wanted)):
        raise RefusedError(400, "malformed", f"expected a JSON list of at most {MAX_DIGESTS} digests")
    return JSONResponse(await run_in_threadpool(host.missing_blobs, agreement, wanted))


@router.get("/v1/wait", summary="Wait until a cosigned checkpoint is larger than size")
async def wait(
    host: TheHost,
    _: Signed,
    size: Annotated[int, Query(ge=0, le=2**53)],
    seconds: Annotated[int, Query(ge=0, le=MAX_WAIT_S)] = MAX_WAIT_S,
) -> dict[str, int]:
    return {"size": await host.cosigning.wait(size, float(seconds))}


@router.post("/v1/instances", summary="Register an enclave instance by its door token", openapi_extra=_JSON)
async def post_instance(request: Request, host: TheHost) -> dict[str, str]:
    body = await read_all(request, _INSTANCE_LIMIT_BYTES, host.settings.limits)
    value = _json(body)
    if not isinstance(value, dict) or set(value) != {"card", "door"} or not isinstance(value["door"], str):
        raise RefusedError(400, "malformed", "expected a JSON object of card and door")
    try:
        card = parse_card(canonical.encode(value["card"]))
    except CryptoError as error:
        raise RefusedError(400, "malformed", f"the card was not taken: {error}") from error
    if not isinstance(card, InstanceCard):
        raise RefusedError(400, "malformed", "only instances register here")
    signed = await host.authenticate(request, own_card=card)
    check_digest(body, signed.body_sha256)
    agreement = await done(
        host.store.submit(
            lambda connection: launches.register(
                connection,
                value["door"],
                instance=signed.fingerprint,
                card=canonical.encode(card.to_json()),
                now=time.time(),
            )
        )
    )
    return {"agreement": agreement}


_FOR_LAUNCHER: Any = [Depends(_launcher)]


@router.post("/v1/launches", summary="(launcher) Wait for work for an instance", dependencies=_FOR_LAUNCHER)
async def next_launch(host: TheHost, seconds: Annotated[int, Query(ge=0, le=MAX_WAIT_S)] = MAX_WAIT_S) -> Response:
    launch = await host.next_launch(float(seconds))
    return Response(status_code=204) if launch is None else JSONResponse(asdict(launch))


@router.post("/v1/launches/{door}/alive", summary="(launcher) The process still runs", dependencies=_FOR_LAUNCHER)
async def alive(host: TheHost, door: str) -> dict[str, float]:
    lease_s = host.settings.lease_s
    await done(
        host.store.submit(lambda connection: launches.keep_alive(connection, door, now=time.time(), lease_s=lease_s))
    )
    return {"lease_s": lease_s}


@router.post(
    "/v1/launches/{door}/ended",
    summary="(launcher) The process has ended",
    dependencies=_FOR_LAUNCHER,
    openapi_extra=_JSON,
)
async def ended(request: Request, host: TheHost, door: str) -> dict[str, bool]:
    value = _json(await read_all(request, 1024, host.settings.limits))
    code = value.get("code") if isinstance(value, dict) else None
    if type(code) is not int or not -(2**31) <= code < 2**31:
        raise RefusedError(400, "malformed", "expected a JSON object with the exit code")
    await done(host.store.submit(lambda connection: launches.end(connection, door, code, now=time.time())))
    host.appended.ring()
    return {"ended": True}


def _json(body: bytes) -> Any:
    try:
        return json.loads(body)
    except (ValueError, RecursionError) as error:
        raise RefusedError(400, "malformed", "the body is no JSON") from error


def _is_digest(value: object) -> bool:
    return isinstance(value, str) and len(value) == 64 and set(value) <= set("0123456789abcdef")
