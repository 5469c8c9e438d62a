"""Keys that are lost or stolen: what the recovery key says, and what recovery approvers do (protocol.md section 4).

A recovery key signs replacements and vetoes, under its own digest, which stands in its party's card. What was sealed
to the lost keys stays lost.
"""

from contextlib import suppress
from typing import Any

from sealstat.crypto.cards import PartyCard, fingerprint
from sealstat.crypto.statement import Statement, sign
from sealstat.party.errors import PartyError
from sealstat.party.home import Home, RecoveryKey, check_recovery_key
from sealstat.party.member import Member, agreements_in_log, utc_now
from sealstat.wire.client import HostClient
from sealstat.wire.errors import HostRefusal, MissingError, WireError
from sealstat.wire.follow import StaleError


def recover(home: Home, key: RecoveryKey, host: str, *, old: str) -> tuple[list[str], list[str]]:
    """Have the recovery key say, in every agreement of a host's log, that the home's newest card is the party's now.

    A home that is fresh knows no agreement, and nobody lets it read one before: the log's public leaves name them all,
    and the host refuses the statement where the card is nobody's.

    Args:
        old: fingerprint of the card that is lost, for agreements that this home knows nothing of.
    Returns:
        the agreements in which the new card is in force; for others of this party, why it is not.
    """
    client = HostClient(host, home.identity.signer, home.fingerprint)
    held, trouble = [], []
    for id in agreements_in_log(client)[0]:
        known = Member(home, id, host) if home.ledger.chain(id) else None
        if known is not None:
            with suppress(WireError, StaleError, PartyError):  # the host may know a thief's card instead of any here
                known.update()
            if _over(known):
                continue
        replaced = fingerprint(known.view.cards[id][home.name]) if known else old
        body = {"old": replaced, "new": home.identity.card.to_json(), "rehearsal": False}
        said = _signed(key, id, "replacement", body)
        try:
            client.introduce(said)
        except (HostRefusal, MissingError) as error:
            if known or (isinstance(error, HostRefusal) and error.code == "void"):
                trouble.append(f"agreement {id[:12]}: {error}")
            continue  # of other parties
        home.ledger.post(said)  # known to its party's monitor as its own
        member = Member(home, id, host)
        member.speak_as(home.identity)
        member.await_leaf(said)
        home.ledger.act("took a new card by its recovery key", f"the one before was {replaced[:12]}", agreement=id)
        held.append(id)
    return held, trouble


def rehearse_recovery(home: Home, key: RecoveryKey, host: str | None) -> list[str]:
    """Show in every agreement in force that the recovery key is there, and change nothing; their ids."""
    check_recovery_key(home, key)
    done = []
    for member in _in_force(home, host):
        mine = member.identity
        body = {"old": mine.fingerprint, "new": mine.card.to_json(), "rehearsal": True}
        done.append(_say(member, key, "replacement", body))
    return done


def veto(home: Home, key: RecoveryKey, host: str | None, *, rehearsal: bool = False) -> list[str]:
    """Refuse every new card that recovery approvers would give this party; the agreements where that was to be done.

    Raises:
        PartyError: no new card waits.
    """
    check_recovery_key(home, key)
    done = []
    for member in _in_force(home, host):
        waiting = member.view.recoveries.items()
        cards = [card for (id, card), each in waiting if (id, each.party) == (member.id, home.name)]
        if rehearsal:
            cards = [member.identity.fingerprint]
        done += [_say(member, key, "veto", {"new": card, "rehearsal": rehearsal}) for card in cards]
    if not done:
        raise PartyError(f"no recovery approver would give {home.name} a new card: there is nothing to veto")
    return done


def vouch(member: Member, card: PartyCard, *, rehearsal: bool = False) -> None:
    """As a recovery approver, say that a party which lost all its keys has this new card; or rehearse to say it.

    Raises:
        PartyError: this party is no recovery approver, or the card is of nobody it could vouch for.
    """
    member.update()
    recovery = member.agreement.roles.recovery
    if recovery is None or member.name not in recovery.approvers:
        raise PartyError(f"{member.name} is no recovery approver of this agreement: its word is not asked for")
    if card.name == member.name or card.name not in member.agreement.parties:
        raise PartyError(f"this is a card of {card.name}: vouch for the new card of another party of the agreement")
    old = fingerprint(member.view.cards[member.id][card.name])
    member.await_leaf(member.say("replacement", {"old": old, "new": card.to_json(), "rehearsal": rehearsal}))
    what = "rehearsed to vouch" if rehearsal else "vouched"
    member.home.ledger.act(f"{what} for a new card of {card.name}", fingerprint(card)[:12], agreement=member.id)


def _in_force(home: Home, host: str | None) -> list[Member]:
    members = [Member(home, id, host) for id in home.ledger.agreements()]
    for member in members:
        member.update()
    return [member for member in members if not _over(member)]


def _over(member: Member) -> bool:
    return member.view.ended(member.clock())


def _say(member: Member, key: RecoveryKey, type: str, body: dict[str, Any]) -> str:
    said = _signed(key, member.id, type, body)
    member.home.ledger.post(said)
    member.send(said)
    member.await_leaf(said)
    what = f"{'rehearsed' if body['rehearsal'] else 'said'} a {type} by its recovery key"
    member.home.ledger.act(what, "a person of this party did it", agreement=member.id)
    return member.id


def _signed(key: RecoveryKey, agreement: str, type: str, body: dict[str, Any]) -> Statement:
    shown = {**body, "recovery": key.signer.public().to_json()}
    return sign(key.signer, type=type, by=key.digest, agreement=agreement, body=shown, at=utc_now())
