"""`sealstat evidence`: what real attestation evidence proves, and what it says."""

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sealstat.cli import evidence_tpm
from sealstat.cli.shared import JsonOption, show_json

if TYPE_CHECKING:
    from sealstat.agreement.enclaves import Policy
    from sealstat.evidence.checks import Finding
    from sealstat.evidence.result import Verified

app = typer.Typer(help="Attestation evidence of seven kinds, checked offline.", no_args_is_help=True)

app.command(
    epilog="Example: `sealstat evidence challenge enrolment.json --root maker.pem --out credential.bin "
    "--pending ./pending`"
)(evidence_tpm.challenge)
app.command(epilog="Example: `sealstat evidence vouch answer.bin --pending ./pending`")(evidence_tpm.vouch)

# exit codes of `verify`; 2 is a wrong call
INVALID, UNSUPPORTED, UNACCEPTABLE = 1, 3, 4
KIND_HELP = "sgx, tdx, snp, nitro, tpm, cca or simulated."


@app.command(
    epilog="Example: `sealstat evidence verify quote.bin --kind tdx --collateral collateral.json --root intel.der "
    "--report-data 5ea1… --policy policy.yaml --at 2026-10-01T12:00:00Z`"
)
def verify(
    file: Annotated[Path | None, typer.Argument(help="The evidence, as it came from the device.")] = None,
    kind: Annotated[str | None, typer.Option(help=KIND_HELP)] = None,
    collateral: Annotated[
        list[Path] | None, typer.Option(help="What the kind needs beside it; again for each file, in order.")
    ] = None,
    root: Annotated[list[Path] | None, typer.Option(help="A root certificate (DER or PEM) that you trust.")] = None,
    nonce: Annotated[str | None, typer.Option(help="The nonce you sent, as hex; compared whole.")] = None,
    report_data: Annotated[
        str | None, typer.Option("--report-data", help="The report data it must carry, as hex; compared whole.")
    ] = None,
    policy: Annotated[Path | None, typer.Option(help="What you accept: YAML or JSON, see docs/evidence.md.")] = None,
    at: Annotated[
        str | None, typer.Option(help="The time at which all must be good, like 2026-10-01T12:00:00Z.")
    ] = None,
    hcl_report: Annotated[
        Path | None, typer.Option("--hcl-report", help="tpm on Azure: the HCL report that names its key.")
    ] = None,
    hardware: Annotated[
        Path | None, typer.Option(help="tpm on Azure: the SNP report or TDX quote that vouches for the HCL report.")
    ] = None,
    hardware_collateral: Annotated[
        list[Path] | None, typer.Option("--hardware-collateral", help="Collateral of --hardware; --root is its root.")
    ] = None,
    manifest: Annotated[Path | None, typer.Option(help="Run a whole set of vectors instead of one file.")] = None,
    json: JsonOption = False,
) -> None:
    """Check evidence: authentic, not in debug mode, up to date, bound to your challenge, of code that you accept.

    No network, no clock: the time is --at. Exit code 0: valid; 1: not authentic or over another challenge;
    2: a wrong call; 3: cannot be judged, neither good nor forged; 4: authentic, but in debug mode, outdated or
    against the policy. With --manifest: 0 if every entry gets the verdict it expects.
    """
    if manifest is not None:
        if file is not None:
            raise typer.BadParameter("give either a file or --manifest", param_hint="FILE")
        _verify_manifest(manifest, as_json=json)
        return
    if file is None or kind is None or at is None:
        raise typer.BadParameter("expected FILE, --kind and --at (or --manifest)", param_hint="FILE")
    accepted = _policy(policy)
    if accepted is not None and accepted.kind != kind:
        raise typer.BadParameter(f"the policy is for evidence of kind {accepted.kind}", param_hint="--policy")
    azure = None if hcl_report is None and hardware is None else (hcl_report, hardware, hardware_collateral or [])
    _verify_one(
        file,
        kind,
        collateral=collateral or [],
        roots=root or [],
        nonce=_hex(nonce, "--nonce"),
        report_data=_hex(report_data, "--report-data"),
        policy=accepted,
        at=_time(at),
        azure=azure,
        as_json=json,
    )


@app.command(epilog="Example: `sealstat evidence show report.bin --kind snp`")
def show(
    file: Annotated[Path, typer.Argument(help="The evidence.")],
    kind: Annotated[str | None, typer.Option(help=f"{KIND_HELP} Guessed if not given.")] = None,
    json: JsonOption = False,
) -> None:
    """Print what evidence says of itself. Nothing is checked: anyone can write such a file."""
    from sealstat.evidence import kinds

    data = _read(file)
    claims = kinds.parse(kind, data) if kind is not None else kinds.guess(data)
    if json:
        show_json({"unverified": True, "kind": claims.kind, "fields": dict(claims.fields)})
        return
    guessed = "" if kind is not None else ", guessed from its form"
    print(f"UNVERIFIED: what this evidence says of itself (kind {claims.kind}{guessed}); nothing of it is proved")
    _print_fields(claims.fields)


def _verify_one(
    file: Path,
    kind: str,
    *,
    collateral: Sequence[Path],
    roots: Sequence[Path],
    nonce: bytes | None,
    report_data: bytes | None,
    policy: "Policy | None",
    at: datetime,
    azure: "tuple[Path | None, Path | None, Sequence[Path]] | None",
    as_json: bool,
) -> None:
    from sealstat.evidence import kinds
    from sealstat.evidence.errors import EvidenceError, UnboundError, UnsupportedError
    from sealstat.evidence.result import Required

    pieces, pinned = [_read(path) for path in collateral], [_root(path) for path in roots]
    evidence = _read(file)
    try:
        verified = kinds.verify(
            kind,
            evidence,
            collateral=pieces,
            roots=pinned,
            required=Required(nonce=nonce, report_data=report_data),
            at=at,
        )
        if azure is not None:
            verified = _vouched_for(verified, pieces, azure, pinned, at)
    except UnboundError as error:
        _answer(str(error), "invalid", error.verified, policy, at, bound=False, as_json=as_json)
        raise typer.Exit(INVALID) from error
    except EvidenceError as error:
        unsupported = isinstance(error, UnsupportedError)
        _answer(str(error), "unsupported" if unsupported else "invalid", None, policy, at, as_json=as_json)
        raise typer.Exit(UNSUPPORTED if unsupported else INVALID) from error
    problem = _answer(None, "valid", verified, policy, at, bound=verified.bound or None, as_json=as_json)
    if problem:
        raise typer.Exit(UNACCEPTABLE)


def _vouched_for(
    verified: "Verified",
    collateral: Sequence[bytes],
    azure: "tuple[Path | None, Path | None, Sequence[Path]]",
    roots: Sequence[bytes],
    at: datetime,
) -> "Verified":
    """The quote with its key vouched for by hardware evidence that verifies as well."""
    from dataclasses import replace

    from sealstat.evidence import hcl, kinds, tpm
    from sealstat.evidence.result import Required

    report_path, hardware_path, hardware_collateral = azure
    if verified.claims.kind != tpm.KIND or report_path is None or hardware_path is None:
        raise typer.BadParameter("--hcl-report and --hardware go together, with --kind tpm", param_hint="--hcl-report")
    report, evidence = hcl.parse_hcl(_read(report_path)), _read(hardware_path)
    hardware = kinds.verify(
        report.kind,
        evidence,
        collateral=[_read(path) for path in hardware_collateral],
        roots=roots,
        required=Required(),
        at=at,
    )
    hcl.check_binding(report, ak=collateral[0], hardware_evidence=evidence, hardware=hardware.claims)
    caveat = f"the attestation key is vouched for by {report.kind.upper()} evidence, and through it by the root given"
    claims = replace(verified.claims, debug=hardware.claims.debug)
    return replace(verified, claims=claims, tcb=hardware.tcb, anchor=hardware.anchor, caveats=(caveat,))


def _answer(
    refusal: str | None,
    verdict: str,
    verified: "Verified | None",
    policy: "Policy | None",
    at: datetime,
    *,
    bound: bool | None = None,
    as_json: bool,
) -> bool:
    """Show the verdict and every check; whether a check of authentic evidence fails."""
    from sealstat.evidence.checks import Finding, findings

    found: tuple[Finding, ...] = () if verified is None else findings(verified, policy, at=at)
    failed = [finding for finding in found if finding.holds is False]
    if refusal is None and verified is not None:
        verdict = _verdict(verified, {finding.name for finding in failed})
    reason = refusal or "; ".join(finding.sentence for finding in failed) or None
    if as_json:
        show_json(_to_json(verdict, reason, verified, found, bound=bound))
    else:
        _print_answer(verdict, reason, verified, found, bound=bound)
    return bool(failed)


def _verdict(verified: "Verified", failed: "set[str]") -> str:
    from sealstat.evidence.result import OUTDATED

    if "debug" in failed:
        return "valid-but-debug"
    if "tcb" in failed and verified.tcb is not None and verified.tcb.status in OUTDATED:
        return "valid-but-outdated-tcb"
    return "valid-but-not-accepted" if failed else "valid"


def _to_json(
    verdict: str, reason: str | None, verified: "Verified | None", found: "Sequence[Finding]", *, bound: bool | None
) -> dict[str, Any]:
    answer: dict[str, Any] = {"verdict": verdict, "reason": reason, "authentic": verified is not None}
    if verified is None:
        return answer
    tcb = verified.tcb
    return answer | {
        "kind": verified.claims.kind,
        "bound": bound,
        "debug": verified.claims.debug,
        "tcb": tcb and {"status": tcb.status, "advisories": list(tcb.advisories), "versions": dict(tcb.versions)},
        "anchor": verified.anchor,
        "measurements": dict(verified.claims.measurements),
        "checks": [{"name": one.name, "holds": one.holds, "sentence": one.sentence} for one in found],
        "caveats": list(verified.caveats),
        "fields": dict(verified.claims.fields),
    }


_HEADS = {
    "valid": "VALID",
    "invalid": "INVALID",
    "unsupported": "UNSUPPORTED, neither good nor forged",
    "valid-but-debug": "AUTHENTIC, BUT IN DEBUG MODE",
    "valid-but-outdated-tcb": "AUTHENTIC, BUT OUTDATED",
    "valid-but-not-accepted": "AUTHENTIC, BUT NOT ACCEPTED",
}
_MARKS = {True: "yes", False: "NO", None: "-"}


def _print_answer(
    verdict: str, reason: str | None, verified: "Verified | None", found: "Sequence[Finding]", *, bound: bool | None
) -> None:
    head = _HEADS["valid" if reason is None else verdict]
    sentence = reason or (f"{verified.claims.kind} evidence that holds in every check made" if verified else "")
    print(_plain(f"{head}: {sentence}"))
    if verified is None:
        return
    binding = {
        True: "over the challenge that was asked for",
        False: "over another challenge than was asked for",
        None: "no nonce or report data was asked for: it may be a replay",
    }
    lines = [
        ("authentic", True, "the signatures are good up to the root or key that was given, at that time"),
        ("bound", bound, binding[bound]),
        *((one.name, one.holds, one.sentence) for one in found),
    ]
    for name, holds, text in lines:
        print(_plain(f"  {_MARKS[holds]:4}{name:12} {text}"))
    for caveat in verified.caveats:
        print(_plain(f"  note            {caveat}"))


def _print_fields(fields: Any) -> None:
    width = max(len(name) for name in fields)
    for name, value in fields.items():
        if isinstance(value, dict):
            for key, part in value.items():
                print(_plain(f"  {name + ' ' + key:{width}}  {part}"))
        elif isinstance(value, list) and value and isinstance(value[0], dict):
            for number, part in enumerate(value):
                print(
                    _plain(
                        f"  {name + f' {number}':{width}}  {', '.join(f'{key} {said}' for key, said in part.items())}"
                    )
                )
        else:
            print(_plain(f"  {name:{width}}  {'-' if value is None else value}"))


def _verify_manifest(manifest: Path, *, as_json: bool) -> None:
    from sealstat.cli.evidence_vectors import run

    outcomes = run(manifest)
    wrong = [one for one in outcomes if not one.agrees]
    if as_json:
        entries = [one.to_json() for one in outcomes]
        show_json({"ok": not wrong, "entries": len(outcomes), "agree": len(outcomes) - len(wrong), "outcomes": entries})
    else:
        for one in outcomes:
            print(_plain(f"{'agrees ' if one.agrees else 'DIFFERS'}  {one.id:40} {one.verdict}{one.explained}"))
        print(f"{len(outcomes) - len(wrong)} of {len(outcomes)} entries get the verdict they expect")
    if wrong or not outcomes:
        raise typer.Exit(INVALID)


def _read(path: Path) -> bytes:
    """A file, no more of it than the limits let through: what is longer is refused by its length alone."""
    from sealstat.evidence.result import COLLATERAL_LIMIT_BYTES

    with path.open("rb") as file:
        return file.read(COLLATERAL_LIMIT_BYTES + 1)


def _root(path: Path) -> bytes:
    """A root as it is pinned: DER, also where the file is PEM; anything else as it is, for the verifier to judge."""
    from cryptography import x509
    from cryptography.hazmat.primitives.serialization import Encoding

    data = _read(path)
    if not data.lstrip().startswith(b"-----BEGIN"):
        return data
    try:
        return x509.load_pem_x509_certificate(data).public_bytes(Encoding.DER)
    except ValueError as error:
        raise typer.BadParameter(f"{path} is no certificate", param_hint="--root") from error


def _hex(text: str | None, option: str) -> bytes | None:
    try:
        return None if text is None else bytes.fromhex(text)
    except ValueError as error:
        raise typer.BadParameter("expected an even number of hex digits", param_hint=option) from error


def _time(text: str) -> datetime:
    try:
        at = datetime.fromisoformat(text)
    except ValueError as error:
        raise typer.BadParameter("expected a time like 2026-10-01T12:00:00Z", param_hint="--at") from error
    if at.tzinfo is None:
        raise typer.BadParameter("expected a time with its zone, like 2026-10-01T12:00:00Z", param_hint="--at")
    return at


def _policy(path: Path | None) -> "Policy | None":
    """A policy in YAML or JSON; every scalar is read as text first, so that no hex digits turn into a number."""
    if path is None:
        return None
    import yaml
    from pydantic import ValidationError

    from sealstat.agreement.enclaves import Policy

    try:
        tree = yaml.load(_read(path), Loader=yaml.BaseLoader)  # noqa: S506 - it makes text, lists and maps only
        return Policy.model_validate(tree, strict=False)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        sentence = f"{path} is no policy: {where + ': ' if where else ''}{first['msg']}"
    except (yaml.YAMLError, ValueError, RecursionError):
        sentence = f"{path} is no policy: it is not YAML"
    raise typer.BadParameter(sentence, param_hint="--policy")


def _plain(text: str) -> str:
    # names come from the file: a control character could draw another verdict over this one
    return "".join(character if character.isprintable() else "\N{REPLACEMENT CHARACTER}" for character in text)
