"""Reading request bodies: never more than announced or allowed, never for ever, and only what the sender signed."""

import asyncio
import time
from collections.abc import AsyncIterator
from hashlib import sha256

from starlette.requests import ClientDisconnect, Request

from sealstat.host.errors import RefusedError
from sealstat.host.settings import Limits


def announced_length(request: Request, limit: int) -> int | None:
    """The body's Content-Length, if any.

    Raises:
        RefusedError: it is above the limit.
    """
    text = request.headers.get("content-length")
    if text is None:
        return None
    if not text.isascii() or not text.isdigit():
        raise RefusedError(400, "wrong-length", "the content-length is no number")
    if len(text) > 19 or int(text) > limit:
        raise RefusedError(413, "too-large", f"the body is larger than the {limit} bytes allowed here")
    return int(text)


async def chunks(request: Request, limit: int, limits: Limits) -> AsyncIterator[bytes]:
    """The body as it comes in.

    Raises:
        RefusedError: more than ``limit`` bytes, a pause too long, slower than allowed, or cut off.
    """
    received, began = 0, time.monotonic()
    stream = request.stream()
    while True:
        try:
            async with asyncio.timeout(limits.body_timeout_s):
                chunk = await anext(stream, None)
        except TimeoutError as error:
            raise RefusedError(408, "too-slow", "the body did not come: send it again") from error
        except ClientDisconnect as error:
            raise RefusedError(400, "truncated", "the body was cut off: send it again") from error
        if chunk is None:
            return
        received += len(chunk)
        if received > limit:
            raise RefusedError(413, "too-large", f"the body is larger than the {limit} bytes allowed here")
        if time.monotonic() - began > limits.body_timeout_s + received / limits.body_rate_bytes_s:
            raise RefusedError(408, "too-slow", "the body comes too slowly: send it again over a better line")
        if chunk:
            yield chunk


async def read_all(request: Request, limit: int, limits: Limits) -> bytes:
    """A whole small body."""
    announced_length(request, limit)
    return b"".join([chunk async for chunk in chunks(request, limit, limits)])


def check_digest(body: bytes, expected: bytes) -> None:
    """Check that a body is the one whose digest was signed.

    Raises:
        RefusedError: it is another.
    """
    if sha256(body).digest() != expected:
        raise RefusedError(400, "wrong-digest", "the body is not the one whose digest was signed")
