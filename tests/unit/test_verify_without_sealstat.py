"""The page that checks a proof by hand is followed to the letter: on an honest proof, and on such as lie."""

import base64
import json
import re
import shutil
import subprocess
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest

import builders
from forging import verify
from sealstat.crypto import canonical
from sealstat.enclave.measure import measure
from sealstat.verify import Trust
from story import Story

ROOT = Path(__file__).parents[2]
DIGEST = "[0-9a-f]{64}"
Change = Callable[[dict[str, Any]], object]
PAGE = ROOT / "docs" / "verify-without-sealstat.md"
pytestmark = pytest.mark.skipif(shutil.which("openssl") is None, reason="Debian's openssl is not installed here")


@cache
def honest() -> bytes:
    """The proof of a run of the code in this checkout."""
    source = measure().digest
    accept = [{**builders.agreement_json()["enclave"]["accept"][0], "source": source}]
    story = Story(builders.agreement(enclave={"accept": accept}))
    story.noise(2)
    request = story.begin()
    instance = story.instance(request, story.challenge_all(request, 0), 0)
    story.attest(instance, measurement=source)
    story.release_all(instance)
    record = story.record(instance, measurement=source)
    story.finish(record, instance)
    story.noise(3)
    data = story.bundle(record).to_bytes()
    assert verify(story, data, Trust()).ok
    return data


def followed(folder: Path, proof: bytes, *, checkout: Path = ROOT) -> tuple[list[str], list[str]]:
    """What the commands of the page say: the lines that are right, and those that are wrong."""
    found = re.findall(r"^```(\w+)\n(.*?)^```$", PAGE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    (unpack,) = [text for language, text in found if language == "python"]
    (folder / "unpack.py").write_text(unpack, encoding="utf-8")
    (folder / "proof.json").write_bytes(proof)
    (folder / "sealstat").symlink_to(checkout)
    (folder / "cards").mkdir()
    cards = [builders.party(name)[0] for name in ("operator-a", "operator-b", "ministry", "regulator")]
    for card in (*cards, builders.host().card, *(builders.witness(name).card for name in builders.WITNESSES)):
        (folder / "cards" / f"{card.name}.json").write_bytes(canonical.encode(card.to_json()) + b"\n")
    blocks = "\n".join(text for language, text in found if language == "bash")
    done = subprocess.run(["bash"], input=blocks, cwd=folder, capture_output=True, text=True, timeout=120)
    lines = (done.stdout + done.stderr).splitlines()
    said = {
        word: [line.removeprefix(word).strip() for line in lines if line.startswith(word)] for word in ("OK", "WRONG")
    }
    return said["OK"], said["WRONG"]


def test_an_honest_proof_is_right_in_every_step(tmp_path: Path) -> None:
    right, wrong = followed(tmp_path, honest())
    assert wrong == []
    statements = len(json.loads(honest())["statements"])
    assert sum("is signed by party" in line and line.endswith(", trusted") for line in right) == statements - 2
    assert sum("is signed by instance" in line for line in right) == 2
    assert sum(" is leaf " in line for line in right) == statements
    assert sum(line.startswith("cards/") for line in right) == 8
    assert sum(line.startswith("cosigned at") and line.endswith(", trusted") for line in right) == 3
    assert sum(line.startswith("signed as the log") and line.endswith(", trusted") for line in right) == 1
    assert right[-1] == f"the record names the code whose sources have digest {measure().digest}"


def of_kind(proof: dict[str, Any], kind: str) -> dict[str, Any]:
    """The first statement of a type."""
    one: dict[str, Any]
    (one, *_) = [each for each in proof["statements"] if f".{kind}.v1" in each["envelope"]["payloadType"]]
    return one


def in_payload(kind: str, old: bytes, new: bytes) -> Change:
    def change(proof: dict[str, Any]) -> None:
        envelope = of_kind(proof, kind)["envelope"]
        payload = base64.b64decode(envelope["payload"])
        assert old in payload
        envelope["payload"] = base64.b64encode(payload.replace(old, new, 1)).decode()

    return change


def flipped(text: str, place: int) -> str:
    data = bytearray(base64.b64decode(text))
    data[place] ^= 1
    return base64.b64encode(data).decode()


def in_signature(proof: dict[str, Any]) -> None:
    signature = of_kind(proof, "approval")["envelope"]["signatures"][0]
    assert signature["keyid"] == "ed25519"
    signature["sig"] = flipped(signature["sig"], 5)


def in_inclusion(proof: dict[str, Any]) -> None:
    branches = of_kind(proof, "key-release")["inclusion"]
    branches[1] = flipped(branches[1], 0)


def in_index(proof: dict[str, Any]) -> None:
    of_kind(proof, "kept")["index"] += 1


def in_root(proof: dict[str, Any]) -> None:
    origin, size, root, rest = proof["checkpoint"].split("\n", 3)
    proof["checkpoint"] = "\n".join([origin, size, flipped(root, 0), rest])


def in_note(name: str, place: int) -> Change:
    def change(proof: dict[str, Any]) -> None:
        lines = proof["checkpoint"].split("\n")
        (at,) = [number for number, line in enumerate(lines) if line.startswith(f"— {name} ")]
        head, _, signature = lines[at].rpartition(" ")
        lines[at] = f"{head} {flipped(signature, place)}"
        proof["checkpoint"] = "\n".join(lines)

    return change


CHANGES: dict[str, tuple[list[Change], list[str]]] = {
    "payload, signature, branch, note": (
        [
            in_payload("delivery", b"2026", b"2025"),
            in_signature,
            in_inclusion,
            in_note("host.example/log", 30),
            in_note("witness-2.example", 40),
            in_note("witness-3.example", 11),  # its time
        ],
        [
            f"delivery {DIGEST} is signed by .*",
            "delivery is leaf .*",
            f"approval {DIGEST} is signed by .*",
            "key-release is leaf .*",
            "signed as the log, .*",
            "cosigned at .* witness-2.*",
            "cosigned at .* witness-3.*",
        ],
    ),
    "root": ([in_root], [*[".* is leaf .*"] * 18, "signed as the log.*", *["cosigned at .*"] * 3]),
    "index, record": (
        [in_index, lambda proof: proof.update(record="0" * 64)],
        ["kept is leaf .*", "the last run-record .*", "the record names .*"],
    ),
    "card": (
        [in_payload("agreement", b'"kind":"party","name":"operator-b"', b'"kind":"party","name":"operator-c"')],
        ["cards/operator-b.json .*", f"agreement {DIGEST} is signed .*", "agreement is leaf .*"]
        # whatever operator-b signed is by nobody now
        + [rf"\S+ {DIGEST} is signed by cat: .*"] * 5,
    ),
    "form": ([in_payload("approval", b'{"agreement"', b'{ "agreement"')], ["the JSON is not in canonical form"]),
    "name": (
        [in_payload("agreement", b'"kind":"party","name":"', b'"kind":"party","name":"\\u001b[2J')],
        ["a name holds characters that no name has"],
    ),
}


@pytest.mark.parametrize(("changes", "wrong"), CHANGES.values(), ids=CHANGES)
def test_a_changed_proof_is_wrong_where_it_was_changed(changes: list[Change], wrong: list[str], tmp_path: Path) -> None:
    proof = json.loads(honest())
    for change in changes:
        change(proof)
    found = followed(tmp_path, canonical.encode(proof))[1]
    assert len(found) == len(wrong), found
    for pattern in wrong:
        assert any(re.fullmatch(pattern, line) for line in found), (pattern, found)


def test_a_changed_checkout_has_another_digest(tmp_path: Path) -> None:
    shutil.copytree(ROOT / "src", tmp_path / "other" / "src", ignore=shutil.ignore_patterns("__pycache__"))
    (tmp_path / "other" / "src" / "sealstat" / "log" / "merkle.py").write_text("# another\n")
    (tmp_path / "here").mkdir()
    right, wrong = followed(tmp_path / "here", honest(), checkout=tmp_path / "other")
    assert [line.partition(" digest ")[0] for line in wrong] == ["the record names the code whose sources have"]
    assert right


def test_what_a_file_says_runs_no_command(tmp_path: Path) -> None:
    """Numbers and names of a hostile file go into a shell's arithmetic and file names."""
    hostile: list[Change] = [
        lambda proof: proof["statements"][0].update(index="a[$(touch ran)]"),
        lambda proof: proof.update(checkpoint=re.sub(r"\n\d+\n", "\na[$(touch ran)]\n", proof["checkpoint"], count=1)),
        lambda proof: proof.update(record="$(touch ran)"),
        lambda proof: proof["statements"][0]["envelope"]["signatures"][0].update(keyid="../../../ran"),
    ]
    for number, change in enumerate(hostile):
        proof = json.loads(honest())
        change(proof)
        folder = tmp_path / str(number)
        folder.mkdir()
        followed(folder, canonical.encode(proof))
        assert not list(tmp_path.rglob("ran"))
