"""The host as an ASGI application (protocol.md section 10): its life, its one shape of errors, its own page."""

import asyncio
import contextlib
import html
import logging
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse, JSONResponse
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

import sealstat
from sealstat.host.errors import RefusedError, disk_full, means_disk_full, not_found
from sealstat.host.routes import router
from sealstat.host.service import Host
from sealstat.host.settings import Settings
from sealstat.host.setup import HostKeys

_log = logging.getLogger("sealstat.host")
_access_log = logging.getLogger("sealstat.host.access")


def create_app(settings: Settings, keys: HostKeys) -> FastAPI:
    """The host as an ASGI application; it opens its files when it starts and closes them when it stops."""

    @contextlib.asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with httpx.AsyncClient(trust_env=False, follow_redirects=False, timeout=5.0) as client:
            try:
                host = await run_in_threadpool(Host, settings, keys, client, asyncio.get_running_loop())
            except Exception as error:
                app.state.failure = error  # whoever runs the server says why it did not start
                raise
            app.state.host = host
            tasks = [asyncio.create_task(host.cosigning.run()), asyncio.create_task(host.delete_expired())]
            try:
                yield
            finally:
                host.stop_waiting()
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)
                await run_in_threadpool(host.close)

    app = FastAPI(
        title=f"sealstat host {keys.card.name}",
        version=sealstat.__version__,
        description="An untrusted postman: it stores ciphertext, signed statements and their log.",
        docs_url=None,  # these pages load scripts from elsewhere; ours needs none
        redoc_url=None,
        lifespan=lifespan,
    )
    app.add_middleware(Watch)
    app.add_exception_handler(RefusedError, _on_refused)
    app.add_exception_handler(HTTPException, _on_http)
    app.add_exception_handler(RequestValidationError, _on_invalid)
    app.include_router(router)

    @app.get("/docs", include_in_schema=False)
    async def documentation() -> HTMLResponse:
        return HTMLResponse(_documentation(app.openapi()))

    return app


# -- answers that are no service -------------------------------------------------------------------------------------


def error_answer(status: int, code: str, message: str, headers: dict[str, str] | None = None) -> JSONResponse:
    """The one shape of every error."""
    return JSONResponse({"error": {"code": code, "message": message}}, status, headers)


def _refused(error: RefusedError) -> JSONResponse:
    headers = {"retry-after": "1"} if error.status in {429, 507} else None
    return error_answer(error.status, error.code, str(error), headers)


async def _on_refused(_: Request, error: Exception) -> Response:
    assert isinstance(error, RefusedError)
    return _refused(error)


async def _on_http(_: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    code = {404: "not-found", 405: "wrong-method"}.get(error.status_code, "refused")
    return error_answer(error.status_code, code, str(error.detail).lower(), dict(error.headers or {}))


async def _on_invalid(_: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    place = error.errors()[0]["loc"]
    if place and place[0] == "path":
        return _refused(not_found())
    return error_answer(400, "malformed", f"the parameter {place[-1]} is missing or out of range")


class Watch:
    """Around everything: no exception and no stack trace gets out, and one line says what was done.

    The line has neither addresses with their ids, nor bodies, nor whole fingerprints.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began, status, size = time.perf_counter(), 0, 0

        async def watched(message: Message) -> None:
            nonlocal status, size
            if message["type"] == "http.response.start":
                status = message["status"]
            size += len(message.get("body", b""))
            await send(message)

        try:
            await self._app(scope, receive, watched)
        except Exception as error:  # noqa: BLE001 - whatever it is stays inside
            if not status:
                await self._answer(error)(scope, receive, watched)
            elif means_disk_full(error):
                _log.warning("an answer was cut off: the disk is full")
        finally:
            route = getattr(scope.get("route"), "path", "-")
            _access_log.info(
                "%s %s %d %.1f ms %d bytes %s",
                scope["method"] if scope["method"].isalpha() else "-",
                route,
                status,
                1000 * (time.perf_counter() - began),
                size,
                scope.get("sealstat.caller", "-"),
            )

    @staticmethod
    def _answer(error: Exception) -> JSONResponse:
        if isinstance(error, RefusedError):
            return _refused(error)
        if means_disk_full(error):
            return _refused(disk_full())
        # type and place, not the message: it may quote what a party sent
        trace, place = error.__traceback__, "?"
        while trace is not None:
            place, trace = f"{Path(trace.tb_frame.f_code.co_filename).name}:{trace.tb_lineno}", trace.tb_next
        _log.error("%s at %s", type(error).__name__, place)
        return error_answer(500, "fault", "the host has failed at this: tell its operator")


def _documentation(schema: dict[str, Any]) -> str:
    """The API as a page that loads nothing from elsewhere."""
    rows = []
    for path, methods in schema["paths"].items():
        for method, what in methods.items():
            text = html.escape(what.get("summary", ""))
            rows.append(f"<tr><td>{method.upper()}</td><td><code>{html.escape(path)}</code></td><td>{text}</td></tr>")
    title = html.escape(schema["info"]["title"])
    return (
        f"<!doctype html><html lang=en><meta charset=utf-8><title>{title}</title>"
        "<style>body{font:16px/1.5 sans-serif;margin:2em auto;max-width:60em}td{padding:.2em 1em .2em 0}</style>"
        f"<h1>{title}</h1><p>{html.escape(schema['info']['description'])} Everything below /v1 but the launcher's "
        "door is signed per RFC 9421 with a card's Ed25519 key, tag sealstat-v1, over @method, @target-uri and "
        "content-digest. The machine-readable form is <a href=openapi.json>openapi.json</a>.</p>"
        f"<table>{''.join(rows)}</table></html>"
    )


__all__ = ["create_app", "error_answer"]
