"""The pages people look at, in real Chromium: the agent's page and the report of a result."""

import shutil
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pyarrow as pa
import pytest

from sealstat.console.page import serve_page
from sealstat.party.agent import Agent
from sealstat.party.home import Home, create_home
from sealstat.reports import render
from sealstat.verify import Trust, make_certificate, verify_bundle
from story import Story

pytestmark = pytest.mark.browser
_FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--no-first-run", "--disable-sync"]


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    chromium = shutil.which("chromium")
    if chromium is None:
        pytest.skip("Debian's chromium is not installed on this machine")
    sync_api = pytest.importorskip("playwright.sync_api")
    with sync_api.sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=chromium, args=_FLAGS)
        yield running
        running.close()


@pytest.fixture
def agent(tmp_path: Path) -> Iterator[Agent]:
    create_home(
        tmp_path / "a", "operator-a", "a passphrase", recovery_file=tmp_path / "recovery", now=datetime.now(UTC)
    )
    home = Home(tmp_path / "a", "a passphrase")
    home.ledger.act("released the key of <b>something</b>", "approved code & an open challenge", agreement="ab" * 32)
    yield Agent(home, "http://127.0.0.1:9")
    home.ledger.close()


def test_the_agents_page_shows_what_it_did_and_escapes_it(browser: Any, agent: Agent) -> None:
    page = browser.new_page()
    errors: list[str] = []
    page.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
    page.goto(serve_page(agent, 0))
    assert page.inner_text("h1") == "operator-a"
    assert "released the key of <b>something</b>" in page.inner_text("table")
    assert page.locator("script").count() == 0
    assert not [error for error in errors if "favicon" not in error]


def test_the_agents_page_shows_trouble_aloud(browser: Any, agent: Agent) -> None:
    agent.trouble[""] = "the host at http://127.0.0.1:9 cannot be reached: is it running?"
    page = browser.new_page()
    page.goto(serve_page(agent, 0))
    assert "cannot be reached" in page.inner_text("[role=alert]")


def test_the_page_is_refused_under_another_name(agent: Agent) -> None:
    address = serve_page(agent, 0)
    answer = httpx.get(address, headers={"host": "evil.example"}, trust_env=False)
    assert answer.status_code == 403
    assert "operator-a" not in answer.text


def test_the_page_loads_nothing_and_cannot_be_framed(agent: Agent) -> None:
    answer = httpx.get(serve_page(agent, 0), trust_env=False)
    assert "default-src 'none'" in answer.headers["content-security-policy"]
    assert "frame-ancestors 'none'" in answer.headers["content-security-policy"]
    assert "http://" not in answer.text.replace("http://127.0.0.1:9", "")


def test_a_result_page_shows_its_maps_and_asks_for_nothing(browser: Any, tmp_path: Path) -> None:
    e, n = (each.ravel() for each in np.mgrid[4300:4340, 3200:3230])
    users = 5000 * np.exp(-np.hypot(e - 4320, n - 3215) / 4)
    counted = pa.array(np.where(users < 10, np.nan, users), from_pandas=True)
    columns = {"tile_e": e, "tile_n": n} | {f"value_{i}": counted for i in range(4)}
    described = {"title": "Users", "dimensions": ["tile_e", "tile_n"], "contributors": "value_0"}
    about = {
        **dict.fromkeys(("agreement", "run", "record", "measurement"), "ab" * 32),
        "title": "Usual environments",
        "task": "t",
        "period": "2026-10",
        "purpose": "p",
        "protection": "SIMULATED ENCLAVE: NOT PROTECTED BY HARDWARE",
        "statistic": {"name": "longitudinal", "version": 1, "title": "Usual environments"},
        "tables": {
            "fingerprint": described
            | {"rule": {"minimum": 10}}
            | {"columns": [{"name": name, "type": "real", "unit": "users", "description": name} for name in columns]}
        },
    }
    file = tmp_path / "report.html"
    file.write_text(render({"fingerprint": pa.table(columns)}, about), encoding="utf-8")
    page = browser.new_page(viewport={"width": 1000, "height": 800})
    asked, errors = [], []
    page.on("request", lambda request: asked.append(request.url))
    page.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
    page.goto(file.as_uri())
    maps = page.get_by_role("img", name="Four maps of 1,200 tiles")
    assert maps.count() == 1
    assert maps.bounding_box()["width"] > 700
    assert page.get_by_text("hidden by the rules of the agreement").first.is_visible()
    assert "NOT PROTECTED BY HARDWARE" in page.inner_text("[role=note]")
    assert page.evaluate("document.documentElement.scrollWidth") <= 1000
    assert [url for url in asked if not url.startswith("data:image/png")] == [file.as_uri()]
    assert not errors


def test_a_certificate_prints_on_one_page_and_gives_its_proof_back(browser: Any, tmp_path: Path) -> None:
    story = Story()
    data = story.bundle(story.whole_run()).to_bytes()
    verdict = verify_bundle(data, trust=Trust(), now=story.now)
    (tmp_path / "certificate.html").write_text(make_certificate(data, verdict, now=story.now), encoding="utf-8")
    page = browser.new_page()
    page.goto((tmp_path / "certificate.html").as_uri())
    assert page.get_by_text("SIMULATED: NOT PROTECTED BY HARDWARE").is_visible()
    with page.expect_download() as saved:
        page.get_by_text("Save the proof in this page").click()
    assert Path(saved.value.path()).read_bytes() == data
    assert page.pdf(prefer_css_page_size=True).count(b"/Type /Page\n") == 1
