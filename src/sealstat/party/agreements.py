"""Proposing, approving, withdrawing an agreement; and a new card of one's own in those that are in force."""

from typing import Any

from sealstat.agreement.check import check_body
from sealstat.agreement.explain import LANGUAGE, RENDERER, digest, explain
from sealstat.agreement.model import Agreement
from sealstat.agreement.replay import InactiveError, View
from sealstat.crypto import canonical
from sealstat.crypto.errors import CryptoError
from sealstat.crypto.statement import parse, sign
from sealstat.log.reader import LogReader
from sealstat.party.errors import PartyError
from sealstat.party.home import Home
from sealstat.party.member import Member, agreements_in_log, utc_now
from sealstat.statistics.catalogue import Catalogue
from sealstat.wire.client import HostClient
from sealstat.wire.errors import WireError
from sealstat.wire.follow import fetch_chain


def propose(home: Home, agreement: Agreement, host: str) -> str:
    """Log an agreement for the others to approve, unless an equal body is there: then that one's id.

    Raises:
        PartyError: this party is not in it, or the host does not take it.
    """
    if home.name not in agreement.parties:
        raise PartyError(f"the agreement does not name {home.name} as a party: only a party can propose it")
    body = agreement.to_json()
    client = HostClient(host, home.identity.signer, home.fingerprint)
    ids, _ = agreements_in_log(client)
    for id in ids:
        try:
            if canonical.encode(parse(client.statement(id)).body) == canonical.encode(body):
                return id
        except (WireError, CryptoError):
            continue  # not ours to see
    statement = sign(
        home.identity.signer, type="agreement", by=home.fingerprint, agreement=None, body=body, at=utc_now()
    )
    home.ledger.post(statement)
    home.ledger.note_fact("receipt", statement.id, client.send(statement))
    home.ledger.settle(statement.id)
    home.ledger.act("proposed an agreement", agreement.title, agreement=statement.id)
    return statement.id


def approve(member: Member) -> None:
    """Approve an agreement in full: its explained text, by digest, is what this party says it has read."""
    member.update()
    older = member.agreement.supersedes
    succeeds = older is not None and member.name in member.view.chain[older].roles.approvers
    approved = member.name in member.view.approvals[member.id]
    unsaid = older is not None and member.name not in member.view.successors[older].get(member.id, set())
    if approved and not (succeeds and unsaid):
        raise PartyError(f"{member.name} has approved this agreement already")
    if member.name not in member.view.needed_approvers():
        raise PartyError(f"{member.name} is no approver of this agreement: no approval is needed")
    text = explain(member.agreement, member.id)
    body = {"language": LANGUAGE, "renderer": RENDERER, "explained": digest(text)}
    if not approved:  # a cut between the two statements leaves the second one to be said
        member.await_leaf(member.say("approval", body))
    if older is not None and succeeds:
        before = Member(member.home, older, member.client.url)
        before.update()
        before.await_leaf(before.say("successor", {"new": member.id}))
    member.home.ledger.act("approved an agreement", member.agreement.title, agreement=member.id)


def approve_leaving(home: Home, agreement: str, host: str | None) -> Member:
    """Approve, as one who leaves, the version that comes after; this party's place in the version before.

    Raises:
        PartyError: this party is no approver of the version before, or has let go of it already.
    """
    client = HostClient(host or "", home.identity.signer, home.fingerprint)
    new = View(fetch_chain(client, agreement)).agreement
    check_body(new, Catalogue())
    before = Member(home, new.supersedes or "", host)
    before.update()
    if before.name not in before.agreement.roles.approvers:
        raise PartyError(f"{home.name} is no approver of the version before: no approval is needed")
    if before.name in before.view.successors[before.id].get(agreement, set()):
        raise PartyError(f"{home.name} has approved this agreement already")
    body = {"language": LANGUAGE, "renderer": RENDERER, "explained": digest(explain(new, agreement))}
    said = sign(
        before.identity.signer,
        type="approval",
        by=before.identity.fingerprint,
        agreement=agreement,
        body=body,
        at=utc_now(),
    )
    home.ledger.note_fact("receipt", said.id, client.send(said))
    before.await_leaf(before.say("successor", {"new": agreement}))
    # the approval stands under an agreement that this party does not follow: its leaf is looked for in the proven log
    assert before.follower.checkpoint is not None
    pieces = LogReader(client.log_file).stream(0, before.follower.checkpoint.checkpoint)
    if not any(said.leaf in piece for piece in pieces):
        raise PartyError("the host took the approval and did not log it: approve again, and tell its operator")
    home.ledger.act("approved the version that this party leaves with", new.title, agreement=before.id)
    return before


def withdraw(member: Member, why: str) -> None:
    """End an agreement: new runs at once, a running one before its release."""
    member.update()
    if member.name not in member.agreement.roles.approvers:
        raise PartyError(f"{member.name} is no approver of this agreement: only an approver can withdraw")
    member.await_leaf(member.say("withdrawal", {"why": why}))
    member.home.ledger.act("withdrew from an agreement", why, agreement=member.id)


def rotate(home: Home, host: str) -> list[str]:
    """A new card, announced in every agreement in which this party's card is in force; their ids."""
    old = home.fingerprint
    new = home.rotate(now=utc_now())
    changed = []
    for id in home.ledger.agreements():
        member = Member(home, id, host)
        member.update()
        if member.view.superseded() or id in member.view.withdrawals or member.clock() > member.agreement.valid.end:
            continue
        body: dict[str, Any] = {"old": member.identity.fingerprint, "new": new.card.to_json(), "rehearsal": False}
        announced = member.say("replacement", body)
        member.speak_as(new)  # the host knows the new card from here on
        member.await_leaf(announced)
        changed.append(id)
    home.ledger.act("took a new card", f"the one before was {old[:12]}")
    return changed


def status(member: Member) -> dict[str, Any]:
    """Where an agreement stands, by this party's clock."""
    view = member.view
    try:
        view.check_active(member.clock())
        state = "active"
    except InactiveError as error:
        state = str(error)
    return {
        "id": member.id,
        "title": member.agreement.title,
        "version": member.agreement.version,
        "state": state,
        "approved": sorted(view.approvals[member.id]),
        "missing": view.missing_approvals(),
        "deliveries": [
            {
                "id": id,
                "dataset": each.entry.body.dataset,
                "period": each.entry.body.period,
                "by": each.entry.by,
                "state": "replaced" if each.replaced else "expired" if each.expired else "in force",
            }
            for id, each in view.deliveries.items()
            if each.entry.agreement == member.id
        ],
        "runs": [
            {"id": id, "task": each.body.task, "period": each.body.period, "by": each.by}
            for id, each in view.requests.items()
            if each.agreement == member.id
        ],
        "recoveries": [
            {"party": each.party, "card": card, "by": sorted(each.by), "enough": each.agreed_at is not None}
            for (agreement, card), each in view.recoveries.items()
            if agreement == member.id
        ],
        "void": [{"leaf": leaf, "id": id, "reason": reason} for id, (leaf, reason) in view.void.items()],
    }
