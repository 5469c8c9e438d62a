"""Whether what an agreement accepts as an enclave makes sense: the rules of check.py about machines."""

import re
from collections.abc import Iterator
from datetime import date

from sealstat.agreement.enclaves import IDENTITIES, MAIN, TCB_NAMES, TIERS, AttestedEnclave, extended, register_bytes
from sealstat.agreement.model import Agreement

Finding = tuple[str, str]
# 16 and 23 can be set back by any program that may ask the TPM, 17 to 22 by a late launch: they keep no history
_KEEPING = re.compile(r"pcr([0-9]|1[0-5])")


def machines(agreement: Agreement) -> Iterator[Finding]:
    """Every entry can accept something, and says by its tier how much that is worth."""
    for index, entry in enumerate(agreement.enclave.accept):
        if isinstance(entry, AttestedEnclave):
            place = f"enclave.accept.{index}"
            yield from _entry(entry, place)
            yield from _measurements(entry, f"{place}.measurements")
            for at, advisory in enumerate(entry.advisories):
                if date.fromisoformat(advisory.until) < agreement.valid.start.date():
                    sentence = "this day is over before the agreement begins: set a later one, or leave it out"
                    yield f"{place}.advisories.{at}.until", sentence


def _entry(entry: AttestedEnclave, place: str) -> Iterator[Finding]:
    if entry.tier not in TIERS[entry.kind]:
        allowed = " or ".join(TIERS[entry.kind])
        yield f"{place}.tier", f"evidence of kind {entry.kind} is of the tier {allowed}: explain says what that means"
    if not entry.roots:
        what = "key" if entry.kind in ("tpm", "cca") else "root certificate"
        yield place, f"nothing is pinned: add roots: and the SHA-256 of the {what} that vouches for the machine"
    known = TCB_NAMES.get(entry.kind, ())
    for name in entry.minimum_tcb:
        if name not in known and entry.kind != "tpm":
            named = ", ".join(known) or "no versions"
            yield f"{place}.minimum_tcb.{name}", f"evidence of kind {entry.kind} tells {named}, not this"
    if entry.kind == "tpm" and (entry.minimum_tcb or entry.tcb_statuses or entry.advisories):
        yield place, "a TPM alone tells nothing of a TCB: leave minimum_tcb, tcb_statuses and advisories out"
    if entry.kind == "snp" and not entry.minimum_tcb:
        yield place, "AMD gives no verdict on a machine's firmware: add minimum_tcb: and the least versions you accept"
    sizes = {"ppid": 16, "platform_instance_id": 16, "chip_id": 64, "instance_id": 33}
    wanted = {sizes[name] for name in IDENTITIES.get(entry.kind, ())}
    for at, platform in enumerate(entry.platforms):
        if len(platform.id) // 2 not in wanted:
            yield f"{place}.platforms.{at}.id", f"expected {min(wanted)} bytes, as this kind tells a machine's identity"


def _measurements(entry: AttestedEnclave, place: str) -> Iterator[Finding]:
    main = MAIN.get(entry.kind)
    for index, reference in enumerate(entry.measurements):
        for register, value in reference.registers.items():
            at, sizes = f"{place}.{index}.registers.{register}", register_bytes(entry.kind, register)
            if not sizes:
                yield at, f"evidence of kind {entry.kind} has no register of this name"
            elif len(value) // 2 not in sizes:
                yield at, f"expected {' or '.join(map(str, sizes))} bytes in this register"
            elif not value.strip("0") and register == main:
                yield at, "only code in debug mode measures as zero"
        if main is not None and main not in reference.registers:
            yield f"{place}.{index}.registers", f"add {main}: without it any code may run"
        if entry.kind == "tdx" and set(reference.registers) == {main}:
            yield f"{place}.{index}.registers", "mr_td alone is the firmware: add the rtmr registers that a start fills"
        if entry.kind == "tpm":
            value = extended(entry.source)
            of_source = [name for name, each in reference.registers.items() if each == value]
            if not of_source:
                sentence = f"no PCR here holds the source digest: add pcr15, which the enclave makes {value}"
                yield f"{place}.{index}.registers", sentence
            elif not any(_KEEPING.fullmatch(name) for name in of_source):
                sentence = "this PCR can be set back without a restart: let the enclave use one of 0 to 15"
                yield f"{place}.{index}.registers.{of_source[0]}", sentence
