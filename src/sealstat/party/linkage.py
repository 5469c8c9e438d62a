"""The key under which a group of providers makes its pseudonyms for a period (protocol.md section 5).

Each provider contributes 32 random bytes, committed to in the log and sealed to each other provider through the
host. Host and enclave never hold the key, so neither can turn an identifier into a pseudonym.
"""

import secrets
from datetime import timedelta
from typing import Any

from sealstat.agreement import contexts
from sealstat.agreement.replay import Entry
from sealstat.agreement.statements import LinkageShare
from sealstat.crypto.cards import b64, fingerprint, unb64
from sealstat.crypto.derive import commitment
from sealstat.crypto.errors import CryptoError
from sealstat.crypto.sealing import seal, unseal
from sealstat.party.errors import PartyError
from sealstat.party.member import Member
from sealstat.tables.pseudonyms import linkage_key

_TURN = timedelta(seconds=10)


def contribute(member: Member, group: str, period: str) -> None:
    """Make this provider's contribution for a period, if it has made none."""
    ref, name = _ref(member, group, period), member.name
    if name in member.judged().contributions(group, period):
        return
    # agent and command may come here at once: the first draws it and says it, on disk before anyone relies on it; the
    # other says it only if that one was cut off in between
    drawn = {"salt": b64(secrets.token_bytes(32)), "value": b64(secrets.token_bytes(32))}
    first = member.home.ledger.keep_first_secret("contribution", ref, drawn)
    now = member.clock()
    if not first and now < member.home.ledger.first_time("contribution", ref, now) + _TURN:
        return
    own = member.home.ledger.secret("contribution", ref)
    assert own is not None
    message = unb64(own["salt"]) + unb64(own["value"])
    sealed = {}
    for other in sorted(set(member.agreement.pseudonyms[group].shared_by) - {name}):
        card = member.view.cards[member.id][other]
        context = _context(member, giver=member.identity.fingerprint, receiver=fingerprint(card), ref=(group, period))
        sealed[other] = seal(card.sealing, context, message)
    committed = commitment(unb64(own["salt"]), unb64(own["value"]))
    body = {"group": group, "period": period, "commitment": committed, "sealed": sealed}
    member.say("linkage-share", body)
    member.home.ledger.act(
        f"contributed to the linkage key of {group} for {period}",
        "a provider of the group needs it to make pseudonyms",
        agreement=member.id,
    )


def opened(member: Member, entry: Entry[LinkageShare]) -> bytes:
    """Another provider's contribution.

    Raises:
        PartyError: it does not open to its commitment; whoever gave it is at fault.
    """
    said = entry.body
    giver, ref = member.view.statements[entry.id].by, (said.group, said.period)
    # sealed to the card that was in force then: this party may have taken a new one since
    for identity in member.home.identities.values():
        context = _context(member, giver=giver, receiver=identity.fingerprint, ref=ref)
        try:
            message = unseal(identity.opener, context, said.sealed[member.name])
        except CryptoError:
            continue
        if len(message) == 64 and commitment(message[:32], message[32:]) == said.commitment:
            return message[32:]
    raise PartyError(f"the linkage contribution of {entry.by} does not open to its commitment: it must be refused")


def key_for(member: Member, group: str, period: str) -> bytes | None:
    """The linkage key of a period, once all contributions are in the log; None before.

    Raises:
        PartyError: a contribution does not open.
    """
    order = member.agreement.pseudonyms[group].shared_by
    shares: dict[str, Entry[LinkageShare]] = member.view.contributions(group, period)
    if set(order) - shares.keys():
        return None
    own: dict[str, Any] | None = member.home.ledger.secret("contribution", _ref(member, group, period))
    if own is None:
        raise PartyError(f"this party's own contribution to {group} for {period} was destroyed: the period is closed")
    values = [unb64(own["value"]) if name == member.name else opened(member, shares[name]) for name in order]
    return linkage_key(values)


def forget(member: Member, group: str, period: str) -> None:
    """Destroy this party's contribution: without it nobody here can make the period's pseudonyms again."""
    member.home.ledger.destroy_secret("contribution", _ref(member, group, period))


def _ref(member: Member, group: str, period: str) -> str:
    return f"{member.id}/{group}/{period}"


def _context(member: Member, *, giver: str, receiver: str, ref: tuple[str, str]) -> dict[str, Any]:
    return contexts.linkage_share(member.id, giver=giver, receiver=receiver, group=ref[0], period=ref[1])
