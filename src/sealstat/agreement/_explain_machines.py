"""What it means to accept a kind of evidence, in plain words: whom that trusts, and with what."""

from collections.abc import Iterator

from sealstat.agreement.enclaves import AttestedEnclave

_BOUGHT = (
    "You trust {maker}'s keys, processors and firmware. NOTE: people who held such machines in their hands have taken "
    "the signing key out of them, and can make evidence with it that looks like any other; the houses in which the "
    "machines stand are part of what you trust."
)
_TRUST = {
    "sgx": "It runs as a process apart (Intel SGX); memory is encrypted. " + _BOUGHT.format(maker="Intel"),
    "tdx": "It runs as a virtual machine apart (Intel TDX); memory is encrypted. " + _BOUGHT.format(maker="Intel"),
    "snp": "It runs as a virtual machine apart (AMD SEV-SNP); memory is encrypted. " + _BOUGHT.format(maker="AMD"),
    "nitro": "It runs as an AWS Nitro Enclave. You trust Amazon: it makes, runs and vouches for the machine by itself.",
    "cca": "It runs as a realm of Arm CCA. You trust the machine's maker, its firmware, and whoever told you its key.",
    "tpm": "A TPM signs what was started on the computer. It protects no memory.",
}
_TIERS = {
    "software": "SOFTWARE TPM: NOT PROTECTED BY HARDWARE. The TPM is a program: whoever runs it can make it say "
    "anything, read all data and change any result unseen. It shows that the procedure works. Do not deliver data about real "
    "people under an agreement that accepts it.",
    "boot": "TPM ALONE: ITS MEMORY IS NOT PROTECTED BY HARDWARE. You trust whoever operates the computer, and whoever "
    "can enter the room: they can read all data while it is being counted. What they cannot do unseen is to start another "
    "program than the one named, if the values below cover all that is started before it.",
}


def attested(entry: AttestedEnclave) -> Iterator[str]:
    """Sentences on one entry, the most important first."""
    if entry.tier in _TIERS:
        yield _TIERS[entry.tier]
    yield _TRUST[entry.kind]
    if entry.debug:
        yield "DEBUG MODE IS ACCEPTED: NOT PROTECTED BY HARDWARE. Whoever runs the machine can look inside."
    for reference in entry.measurements:
        registers = ", ".join(f"{name} {value}" for name, value in reference.registers.items())
        yield f"Accepted is: {reference.name} ({registers}). They stand for all that they cover."
    what = "attestation key" if entry.kind in ("tpm", "cca") else "root certificate"
    yield f"The {what} that vouches for it, as SHA-256: {', '.join(entry.roots)}"
    if entry.platforms:
        named = ", ".join(f"{platform.name} ({platform.id})" for platform in entry.platforms)
        yield f"Only these machines may answer: {named}. A key taken out of any other machine is worth nothing here."
    elif entry.tier == "extractable":
        yield "ANY MACHINE of this kind may answer: a key taken out of one of them, anywhere, is enough to deceive you."
    if entry.kind in ("sgx", "tdx"):
        yield f"The maker's verdict on its updates must be: {' or '.join(entry.tcb_statuses or ['UpToDate'])}."
    if entry.minimum_tcb:
        versions = ", ".join(f"{name} {version}" for name, version in entry.minimum_tcb.items())
        yield f"Its firmware must be at least: {versions}."
    for toleration in entry.advisories:
        yield f"The known flaw {toleration.id} is lived with until {toleration.until}, because: {toleration.because}"
    if entry.highest_vmpl:
        yield f"It may run below other software of the machine, down to privilege level {entry.highest_vmpl}."
