"""The agent's page: read only, on loopback, for the person whose agent it is.

A page of another site must not read it through the browser: requests under any other name than loopback's are
refused (DNS rebinding), nothing can be changed here, and no script runs.
"""

import socket
import threading
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import jinja2
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import Route

from sealstat.agreement.periods import lasting
from sealstat.crypto.cards import spoken
from sealstat.party.agent import Agent
from sealstat.party.agreements import status
from sealstat.party.member import Member
from sealstat.party.runs import stage

_HEADERS = {
    "content-security-policy": "default-src 'none'; style-src 'unsafe-inline'; img-src data:; frame-ancestors 'none'",
    "cache-control": "no-store",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
}


def describe(agent: Agent) -> dict[str, Any]:
    """All that the page shows."""
    return {
        "name": agent.home.name,
        "fingerprint": spoken(agent.home.fingerprint),
        "host": agent.host,
        "now": datetime.now(UTC).strftime("%Y-%m-%d %H:%M:%S UTC"),
        "trouble": {id[:12] or "host": sentence for id, sentence in dict(agent.trouble).items()},
        "agreements": [_agreement(agent, member) for member in list(agent.members.values())],
        "acts": [
            {"at": at.replace("+00:00", "").replace("T", " "), "agreement": (id or "")[:12], "what": what, "why": why}
            for at, id, what, why in agent.home.ledger.acts()
        ],
    }


def _agreement(agent: Agent, member: Member) -> dict[str, Any]:
    found = status(member)
    for each in found["deliveries"]:
        keep = member.agreement.datasets[each["dataset"]].keep
        since = agent.home.ledger.fact("delivered", each["id"])
        each["mine"] = since is not None
        if since is not None:
            each["until"] = (datetime.fromisoformat(since) + lasting(keep)).strftime("%Y-%m-%d %H:%M")
    for each in found["runs"]:
        now = stage(member.view, each["id"], member.name)
        each |= {"stage": now.word, "sentence": now.sentence}
    checkpoint = member.follower.checkpoint
    found["log_size"] = member.view.size
    found["clock"] = ""
    if checkpoint is not None:
        told = datetime.fromtimestamp(checkpoint.clock(member.agreement.witnesses.quorum), UTC)
        found["clock"] = told.strftime("%Y-%m-%d %H:%M:%S UTC")
    found["warnings"] = member.agreement.enclave.warnings
    found["recoveries"] = [each | {"card": spoken(each["card"])} for each in found["recoveries"]]
    return found


def create_app(agent: Agent, port: int) -> Starlette:
    """The page as an ASGI application."""
    folder = Path(__file__).parent / "templates"
    template = jinja2.Environment(loader=jinja2.FileSystemLoader(folder), autoescape=True).get_template("agent.html")
    allowed = {f"127.0.0.1:{port}", f"localhost:{port}"}

    def refused(request: Request) -> Response | None:
        if request.headers.get("host") not in allowed:
            return Response("this page is for this machine only\n", 403, _HEADERS)
        return None

    def page(request: Request) -> Response:
        return refused(request) or HTMLResponse(template.render(describe(agent)), headers=_HEADERS)

    def data(request: Request) -> Response:
        return refused(request) or JSONResponse(describe(agent), headers=_HEADERS)

    return Starlette(routes=[Route("/", page), Route("/status.json", data)])


def serve_page(agent: Agent, port: int) -> str:
    """Serve the page from a thread of its own until the program ends; its address."""
    listening = socket.socket()
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listening.bind(("127.0.0.1", port))
    listening.listen()  # whoever gets the address may call at once
    bound = int(listening.getsockname()[1])
    config = uvicorn.Config(
        create_app(agent, bound), log_level="warning", access_log=False, server_header=False, lifespan="off"
    )
    server = uvicorn.Server(config)
    server.install_signal_handlers = lambda: None  # type: ignore[attr-defined]
    threading.Thread(target=server.run, kwargs={"sockets": [listening]}, daemon=True).start()
    return f"http://127.0.0.1:{bound}/"
