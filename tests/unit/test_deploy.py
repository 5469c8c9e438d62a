"""The recipes, as far as they can be checked without their hardware: syntax, words, and that they call what exists."""

import configparser
import importlib.util
import json
import re
import shutil
import socket
import subprocess
import sys
import threading
import tomllib
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import jinja2
import pytest
import typer.main

from sealstat.cli.app import app
from sealstat.host.launcher import instance_command

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"

# --- gramine ---------------------------------------------------------------------------------------------------------

# what Gramine's own check of manifests knows (its options as of version 1.8), of those used here
OPTIONS = {
    "loader": {"entrypoint", "argv", "env", "log_level"},
    "libos": {"entrypoint"},
    "fs": {"mounts"},
    "sys": {"stack", "disallow_subprocesses", "enable_extra_runtime_domain_names_conf"},
    "sgx": {
        "debug",
        "enclave_size",
        "max_threads",
        "remote_attestation",
        "file_check_policy",
        "trusted_files",
    },
}


@pytest.fixture(scope="module")
def manifest() -> dict[str, Any]:
    environment = jinja2.Environment(undefined=jinja2.StrictUndefined)
    template = environment.from_string((DEPLOY / "gramine" / "sealstat.manifest.template").read_text())
    page = (DEPLOY / "gramine" / "README.md").read_text()
    command = page[page.index("gramine-manifest -D") : page.index("gramine-sgx-sign --manifest")]
    given = dict(re.findall(r"-D(\w+)=(\S+)", command))  # as its README gives them
    runtime = SimpleNamespace(libos="/gramine/libsysdb.so", runtimedir=lambda: "/gramine/runtime/glibc")
    return tomllib.loads(template.render(gramine=runtime, **given))


def test_the_manifest_has_only_options_that_gramine_knows(manifest: dict[str, Any]) -> None:
    assert {group: set(values) for group, values in manifest.items()} == OPTIONS
    assert manifest["loader"]["entrypoint"].keys() == {"uri"}
    assert {mount.get("type", "chroot") for mount in manifest["fs"]["mounts"]} == {"chroot", "tmpfs"}


def test_the_manifest_lets_nothing_in_that_is_not_measured(manifest: dict[str, Any]) -> None:
    assert manifest["sgx"]["debug"] is False
    assert manifest["sgx"]["file_check_policy"] == "strict"
    trusted = {uri.removesuffix("/") for uri in manifest["sgx"]["trusted_files"]}
    for mount in manifest["fs"]["mounts"]:
        assert mount.get("type") == "tmpfs" or mount["uri"] in trusted
    assert all(isinstance(value, str) for value in manifest["loader"]["env"].values()), "nothing of the host's"


def test_the_manifest_starts_an_instance_as_the_launcher_does(manifest: dict[str, Any]) -> None:
    program, *words = manifest["loader"]["argv"]
    assert program == manifest["libos"]["entrypoint"]
    wanted = instance_command(attester="simulated", simulated_root=None)[1:-1]
    assert words[: len(wanted)] == wanted
    told = subprocess.run(
        [sys.executable, "-m", "sealstat.enclave", "--help"], capture_output=True, text=True, timeout=60
    )
    assert all(word in told.stdout for word in words[len(wanted) :] if word.startswith("--"))


# --- a confidential machine ------------------------------------------------------------------------------------------


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="there is no systemd-analyze")
def test_systemd_finds_no_fault_in_the_unit() -> None:
    unit = DEPLOY / "cvm" / "sealstat-enclave.service"
    done = subprocess.run(["systemd-analyze", "verify", unit], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")


def test_the_root_partition_and_its_hashes_belong_together() -> None:
    found = []
    for path in sorted((DEPLOY / "cvm" / "repart.d").glob("*.conf")):
        parser = configparser.ConfigParser()
        parser.optionxform = str  # type: ignore[assignment,method-assign]
        parser.read(path)
        found.append(dict(parser["Partition"]))
    data, hashes = found
    assert (data["Type"], data["Verity"]) == ("root-x86-64", "data")
    assert (hashes["Type"], hashes["Verity"]) == ("root-x86-64-verity", "hash")
    assert data["VerityMatchKey"] == hashes["VerityMatchKey"]


def test_the_build_script_parses_and_names_files_that_are_there() -> None:
    script = DEPLOY / "cvm" / "build.sh"
    subprocess.run(["bash", "-n", script], check=True, timeout=60)
    for name in re.findall(r'"\$here/([^"]+)"', script.read_text()):
        assert (DEPLOY / "cvm" / name).exists()
    for name in re.findall(r'"\$checkout/([^"]+)"', script.read_text()):
        assert (ROOT / name).exists()


# --- nitro -----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def start() -> ModuleType:
    spec = importlib.util.spec_from_file_location("nitro_start", DEPLOY / "nitro" / "start.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_what_is_forwarded_arrives_both_ways(start: ModuleType) -> None:
    def shout(server: socket.socket) -> None:
        there, _ = server.accept()
        with there:
            data = b""
            while piece := there.recv(65536):
                data += piece
            there.sendall(data.upper())

    with socket.create_server(("127.0.0.1", 0)) as far, socket.create_server(("127.0.0.1", 0)) as near:
        threading.Thread(target=shout, args=(far,), daemon=True).start()
        where = far.getsockname()
        threading.Thread(
            target=start.forward, args=(near, lambda: socket.create_connection(where)), daemon=True
        ).start()
        with socket.create_connection(near.getsockname(), timeout=30) as here:
            here.sendall(b"a" * 200_000)
            here.shutdown(socket.SHUT_WR)
            got = b""
            while piece := here.recv(65536):
                got += piece
        assert got == b"A" * 200_000


def test_the_parent_tells_an_address_and_a_token_and_no_more(start: ModuleType) -> None:
    def say(data: bytes) -> Any:
        ours, theirs = socket.socketpair()
        with ours, theirs:
            theirs.sendall(data)
            theirs.shutdown(socket.SHUT_WR)
            return start.told(ours)

    said = {"host": "https://stats.example:8700", "token": "t"}
    assert say(json.dumps(said).encode()) == ("https://stats.example:8700", "t")
    with pytest.raises(SystemExit, match="more than"):
        say(b" " * 5000)


def test_the_image_copies_files_that_are_there() -> None:
    file = (DEPLOY / "image" / "Dockerfile").read_text()
    assert "FROM ${BASE}" in file, "the base has no default: its digest must be given"
    sources = [line.split()[1] for line in file.splitlines() if line.startswith("COPY ")]
    assert sources[:2] == ["${LOCK}", "dist/sealstat-*.whl"]
    for name in (*sources[2:], "requirements.lock", "src/sealstat/enclave/requirements.lock"):
        assert (ROOT / name).exists()
    assert "--require-hashes" in file


# --- all -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["cvm/sealstat-enclave.service", "nitro/start.py"])
def test_the_launcher_is_called_with_options_that_it_has(name: str) -> None:
    text = (DEPLOY / name).read_text()
    serve: Any = typer.main.get_command(app)
    serve = serve.commands["enclave"].commands["serve"]
    known = {option for parameter in serve.params for option in parameter.opts}
    used = set(re.findall(r"--[a-z-]+", text[text.index("enclave") :]))
    assert {"--attester", "--host", "--token"} <= used <= known


@pytest.mark.parametrize("folder", ["gramine", "cvm", "nitro"])
def test_each_recipe_says_what_is_measured_and_what_was_not_run(folder: str) -> None:
    text = (DEPLOY / folder / "README.md").read_text()
    for heading in ("What is measured", "Not measured", "Not run here"):
        assert f"\n## {heading}" in text
