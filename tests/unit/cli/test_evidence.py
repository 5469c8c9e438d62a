"""`sealstat evidence`: verdicts, exit codes, JSON, and whole sets of vectors."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

import attesting
from attesting import AT, Case
from sealstat.cli.app import app

RUNNER = CliRunner()
TIME = f"{AT:%Y-%m-%dT%H:%M:%SZ}"


def call(*words: str | Path) -> tuple[int, str]:
    done = RUNNER.invoke(app, ["evidence", *map(str, words)])
    assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
    return done.exit_code, done.output


def written(case: Case, folder: Path) -> list[str]:
    """The case's files, and the words that verify them."""
    (folder / "evidence").write_bytes(case.evidence)
    words = ["verify", str(folder / "evidence"), "--kind", case.kind, "--at", TIME]
    for option, pieces in (("collateral", case.collateral), ("root", case.roots)):
        for number, piece in enumerate(pieces):
            path = folder / f"{option}-{number}"
            path.write_bytes(piece)
            words += [f"--{option}", str(path)]
    return words


def bound_to(case: Case) -> list[str]:
    required = case.required
    option, value = ("--nonce", required.nonce) if required.nonce else ("--report-data", required.report_data)
    assert value is not None
    return [option, value.hex()]


@pytest.mark.parametrize(
    "case",
    [attesting.sgx(), attesting.tdx(), attesting.snp(), attesting.nitro(), attesting.tpm(), attesting.cca()],
    ids=lambda case: case.kind,
)
def test_good_evidence_of_each_kind(case: Case, tmp_path: Path) -> None:
    words = [*written(case, tmp_path), *bound_to(case)]
    code, text = call(*words)
    assert (code, text.splitlines()[0]) == (0, f"VALID: {case.kind} evidence that holds in every check made")
    assert "yes authentic" in text
    assert "yes bound" in text
    code, text = call(*words, "--json")
    answer = json.loads(text)
    assert code == 0
    assert (answer["verdict"], answer["authentic"], answer["bound"], answer["debug"]) == ("valid", True, True, False)
    assert answer["fields"]["debug"] is False


def test_a_root_may_be_pem(tmp_path: Path) -> None:
    case = attesting.snp()
    words = written(case, tmp_path)
    (tmp_path / "root-0").write_text(attesting.pem(attesting.load(case.roots[0])))
    code, text = call(*words, "--json")
    assert (code, json.loads(text)["anchor"]) == (0, case.verify().anchor)
    (tmp_path / "root-0").write_text("-----BEGIN CERTIFICATE-----\n")
    assert call(*words)[0] == 2


def test_what_was_not_asked_for_is_said(tmp_path: Path) -> None:
    code, text = call(*written(attesting.snp(), tmp_path))
    assert code == 0
    assert "it may be a replay" in text
    assert "no policy was given" in text


def test_forged_evidence_is_invalid(tmp_path: Path) -> None:
    words = written(attesting.sgx(quote={"other_key": True}), tmp_path)
    code, text = call(*words)
    assert code == 1
    assert text.startswith("INVALID: the quote does not verify")
    assert text.count("\n") == 1
    code, text = call(*words, "--json")
    answer = json.loads(text)
    assert (code, answer["verdict"], answer["authentic"]) == (1, "invalid", False)


def test_another_challenge_is_invalid_though_authentic(tmp_path: Path) -> None:
    words = [*written(attesting.snp(), tmp_path), "--report-data", "00" * 64]
    code, text = call(*words)
    assert code == 1
    assert "NO  bound" in text
    answer = json.loads(call(*words, "--json")[1])
    assert (answer["verdict"], answer["authentic"], answer["bound"]) == ("invalid", True, False)


def test_what_cannot_be_judged_has_its_own_exit_code(tmp_path: Path) -> None:
    words = written(attesting.tdx(sept_ve_disable=False), tmp_path)
    code, text = call(*words)
    assert (code, text.split(":")[0]) == (3, "UNSUPPORTED, neither good nor forged")
    assert json.loads(call(*words, "--json")[1])["verdict"] == "unsupported"


@pytest.mark.parametrize(
    ("case", "verdict", "head"),
    [
        (attesting.snp(debug=True), "valid-but-debug", "AUTHENTIC, BUT IN DEBUG MODE"),
        (attesting.tdx(status="OutOfDate"), "valid-but-outdated-tcb", "AUTHENTIC, BUT OUTDATED"),
    ],
)
def test_debug_and_outdated_are_told_apart_from_forged(case: Case, verdict: str, head: str, tmp_path: Path) -> None:
    words = written(case, tmp_path)
    code, text = call(*words)
    assert (code, text.split(":")[0]) == (4, head)
    code, text = call(*words, "--json")
    assert (code, json.loads(text)["verdict"]) == (4, verdict)


POLICY = """
kind: snp
measurements:
  - name: the October image
    registers: {measurement: CODE}
minimum_tcb: {microcode: 219}
"""


def test_a_policy_decides(tmp_path: Path) -> None:
    words = [*written(attesting.snp(), tmp_path), "--policy", str(tmp_path / "policy.yaml")]
    policy = POLICY.replace("CODE", attesting.CODE.hex())
    (tmp_path / "policy.yaml").write_text(policy)
    code, text = call(*words)
    assert code == 0
    assert "runs the October image" in text
    (tmp_path / "policy.yaml").write_text(policy.replace("219", "220"))
    code, text = call(*words)
    assert code == 4
    assert text.startswith("AUTHENTIC, BUT NOT ACCEPTED: the TCB's microcode is 219, the policy asks for 220")
    assert json.loads(call(*words, "--json")[1])["verdict"] == "valid-but-not-accepted"


def test_debug_that_the_policy_accepts_is_valid(tmp_path: Path) -> None:
    policy = POLICY.replace("CODE", attesting.CODE.hex())
    (tmp_path / "policy.yaml").write_text(policy + "debug: true\n")
    words = [*written(attesting.snp(debug=True), tmp_path), "--policy", str(tmp_path / "policy.yaml"), "--json"]
    code, text = call(*words)
    assert (code, json.loads(text)["verdict"]) == (0, "valid")
    (tmp_path / "policy.yaml").write_text(policy.replace(attesting.CODE.hex(), "00") + "debug: true\n")
    code, text = call(*words)
    assert (code, json.loads(text)["verdict"]) == (4, "valid-but-not-accepted")


def test_digits_of_a_measurement_do_not_turn_into_a_number(tmp_path: Path) -> None:
    (tmp_path / "policy.json").write_text(POLICY.replace("CODE", "00" * 48))
    code, text = call(*written(attesting.snp(), tmp_path), "--policy", tmp_path / "policy.json")
    assert code == 4
    assert "runs none of what the policy accepts" in text


@pytest.mark.parametrize(
    "words",
    [
        ["verify"],
        ["verify", "FILE", "--kind", "snp"],
        ["verify", "FILE", "--at", TIME],
        ["verify", "FILE", "--kind", "snp", "--at", "yesterday"],
        ["verify", "FILE", "--kind", "snp", "--at", "2026-10-01T12:00:00"],
        ["verify", "FILE", "--kind", "snp", "--at", TIME, "--nonce", "xyz"],
        ["verify", "FILE", "--kind", "snp", "--at", TIME, "--policy", "POLICY"],
        ["verify", "FILE", "--manifest", "FILE"],
        ["verify", "FILE", "--kind", "tpm", "--collateral", "AK", "--at", TIME, "--hcl-report", "FILE"],
    ],
)
def test_a_wrong_call_is_told_from_a_refusal(words: list[str], tmp_path: Path) -> None:
    case = attesting.tpm()
    files = {"FILE": case.evidence, "AK": case.collateral[0], "POLICY": b"kind: snp\nmeasurements: []\n"}
    for name, data in files.items():
        (tmp_path / name).write_bytes(data)
    code, _ = call(*[tmp_path / word if word in files else word for word in words])
    assert code == 2


def test_a_policy_for_another_kind_is_a_wrong_call(tmp_path: Path) -> None:
    (tmp_path / "policy.yaml").write_text(POLICY.replace("CODE", "00"))
    assert call(*written(attesting.tdx(), tmp_path), "--policy", tmp_path / "policy.yaml")[0] == 2


def test_a_key_that_hardware_vouches_for(tmp_path: Path) -> None:
    ak = attesting.rsa_key("ak", 2048)
    data = attesting.runtime_data(ak)

    def over(report: bytearray) -> None:
        report[0x50:0x90] = attesting.hashlib.sha256(data).digest().ljust(64, b"\0")

    hardware = attesting.snp(edit=over)
    (tmp_path / "hcl").write_bytes(attesting.hcl_report(hardware.evidence, data))
    (tmp_path / "report").write_bytes(hardware.evidence)
    words = written(attesting.tpm(ak="rsa"), tmp_path)
    words += ["--hcl-report", str(tmp_path / "hcl"), "--hardware", str(tmp_path / "report")]
    for option, pieces in (("--hardware-collateral", hardware.collateral), ("--root", hardware.roots)):
        for number, piece in enumerate(pieces):
            (tmp_path / f"{option}{number}").write_bytes(piece)
            words += [option, str(tmp_path / f"{option}{number}")]
    code, text = call(*words)
    assert code == 0
    assert "vouched for by SNP evidence" in text
    (tmp_path / "report").write_bytes(attesting.snp().evidence)
    code, text = call(*words)
    assert code == 1
    assert "another hardware report" in text


# --- show -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("words", [[], ["--kind", "nitro"]])
def test_show_prints_the_fields_and_that_nothing_is_proved(words: list[str], tmp_path: Path) -> None:
    (tmp_path / "document").write_bytes(attesting.nitro(other_key=True).evidence)
    code, text = call("show", tmp_path / "document", *words)
    assert code == 0
    assert text.startswith("UNVERIFIED: ")
    assert "kind nitro" in text
    assert f"pcrs 0         {attesting.CODE.hex()}" in " ".join(text.split()).replace(" pcrs 0 ", " pcrs 0         ")
    code, text = call("show", tmp_path / "document", *words, "--json")
    assert (code, json.loads(text)["unverified"]) == (0, True)


def test_show_lists_the_components_of_a_platform(tmp_path: Path) -> None:
    (tmp_path / "token").write_bytes(attesting.cca().evidence)
    assert "name RMM" in call("show", tmp_path / "token")[1]


def test_no_name_in_evidence_can_draw_over_the_answer(tmp_path: Path) -> None:
    hostile = attesting.nitro(changes={"module_id": "\x1b[2Ji-0"})
    (tmp_path / "document").write_bytes(hostile.evidence)
    assert "\x1b" not in call("show", tmp_path / "document")[1]


# --- whole sets -------------------------------------------------------------------------------------------------


@pytest.fixture
def vectors(tmp_path: Path) -> Path:
    """A small set of its own, with one entry that expects the wrong verdict."""
    entries: list[dict[str, Any]] = []

    def add(id: str, case: Case, expect: str, **more: Any) -> None:
        (tmp_path / id).write_bytes(case.evidence)
        names = []
        for number, piece in enumerate(case.collateral):
            names.append(f"{id}-{number}")
            (tmp_path / names[-1]).write_bytes(piece)
        entry = {"id": id, "file": id, "kind": case.kind, "collateral": names, "verify_at": TIME, "expect": expect}
        if case.roots:
            (tmp_path / f"{id}-root").write_bytes(case.roots[0])
            entry["trust_root"] = f"{id}-root"
        entries.append(entry | more)

    add("good", attesting.snp(), "valid", fields={"vmpl": 0, "measurement": attesting.CODE.hex()})
    add("debug", attesting.sgx(debug=True), "valid-but-debug")
    add("old", attesting.tdx(status="OutOfDate"), "valid-but-outdated-tcb", fields={"tcb_status": "OutOfDate"})
    add("forged", attesting.cca(bound=False), "invalid")
    add("replayed", attesting.cca(), "invalid", require={"challenge": "00" * 64})
    add("unsupported", attesting.tdx(sept_ve_disable=False), "invalid")
    add("pcrs", attesting.tpm(), "valid", fields={"measurement": {"0": attesting.PCRS[0].hex()}})
    (tmp_path / "manifest.json").write_text(json.dumps(entries))
    return tmp_path / "manifest.json"


def test_a_set_of_vectors_agrees_entry_by_entry(vectors: Path) -> None:
    code, text = call("verify", "--manifest", vectors)
    assert code == 0, text
    assert text.endswith("7 of 7 entries get the verdict they expect\n")
    code, text = call("verify", "--manifest", vectors, "--json")
    answer = json.loads(text)
    assert (code, answer["ok"], answer["agree"], len(answer["outcomes"])) == (0, True, 7, 7)


@pytest.mark.parametrize(
    ("entry", "change"),
    [(0, {"expect": "invalid"}), (3, {"expect": "valid"}), (0, {"fields": {"vmpl": 3}})],
    ids=["a valid one expected invalid", "an invalid one expected valid", "another field"],
)
def test_a_set_with_one_disagreement_fails(vectors: Path, entry: int, change: dict[str, Any]) -> None:
    entries = json.loads(vectors.read_text())
    entries[entry] |= change
    vectors.write_text(json.dumps(entries))
    code, text = call("verify", "--manifest", vectors)
    assert code == 1
    assert text.count("DIFFERS") == 1
    assert json.loads(call("verify", "--manifest", vectors, "--json")[1])["ok"] is False


@pytest.mark.parametrize("text", ["", "{}", "[1]", "[{}]", "[]"])
def test_what_is_no_manifest_fails(text: str, tmp_path: Path) -> None:
    (tmp_path / "manifest.json").write_text(text)
    done = RUNNER.invoke(app, ["evidence", "verify", "--manifest", str(tmp_path / "manifest.json")])
    assert done.exit_code == 1


# --- docs/evidence.md -------------------------------------------------------------------------------------------

PAGE = (Path(__file__).parents[3] / "docs" / "evidence.md").read_text(encoding="utf-8")


def test_every_field_is_on_its_page() -> None:
    cases = [attesting.sgx(), attesting.tdx(5), attesting.snp(), attesting.nitro(), attesting.tpm(), attesting.cca()]
    fields = {name for case in cases for name in case.verify().claims.fields}
    assert fields <= set(re.findall(r"`([a-z0-9_]+)`", PAGE))


def test_the_policy_on_the_page_is_one(tmp_path: Path) -> None:
    (policy,) = re.findall(r"^```yaml\n(kind: .*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    (tmp_path / "policy.yaml").write_text(policy)
    code, text = call(*written(attesting.tdx(), tmp_path), "--policy", tmp_path / "policy.yaml")
    assert code == 4
    assert "which the policy does not name" in text
