"""What a party's agent owes its agreement, one duty a function; each looks, decides, and says what is due.

Every duty can be done again at any time: what was said is in the log or in the outbox, and is not said twice.
The comments give the section of protocol.md that the check stands for.
"""

import secrets
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import Any

from sealstat.agreement import contexts
from sealstat.agreement.model import Task
from sealstat.agreement.periods import lasting, report_of, seconds
from sealstat.agreement.replay import Entry, InactiveError, Instance, View, Void
from sealstat.agreement.statements import Challenge, DrawnKey, Output, RunRecord, RunRequest, SealedShare, State
from sealstat.crypto import canonical
from sealstat.crypto.cards import b64, fingerprint, spoken, unb64
from sealstat.crypto.derive import mac_matches, subkey
from sealstat.crypto.errors import CryptoError
from sealstat.crypto.identity import Opener
from sealstat.crypto.keystore import write_private
from sealstat.crypto.sealing import seal, unseal
from sealstat.evidence.appraisal import appraise
from sealstat.evidence.errors import EvidenceError
from sealstat.log.errors import LogError
from sealstat.party import linkage
from sealstat.party.errors import PartyError
from sealstat.party.member import Member
from sealstat.party.period_keys import keep_period_key
from sealstat.party.runs import refusal_detail
from sealstat.tables.sealed import MAX_LIST_BYTES, parse_parts_list
from sealstat.wire.errors import WireError
from sealstat.wire.follow import StaleError


def do_all(member: Member) -> None:
    """Every duty once, in the order of the story; trouble with one does not keep the party from the others.

    Raises:
        PartyError, WireError, LogError, CryptoError: the first trouble there was, when all duties had their turn.
    """
    trouble: Exception | None = None
    failed: set[Callable[[Member], None]] = set()
    for duty in (
        resend,
        answer_linkage,
        challenge_requests,
        release_keys,
        hear_refusals,
        keep_results,
        take_shares,
        drop_states,
        release_results,
        forget_shares,
        end_retention,
        warn_of_recoveries,
        finish_recoveries,
    ):
        if duty is forget_shares and take_shares in failed:
            continue  # what was not taken yet may be sealed to what would be destroyed
        try:
            duty(member)
        except (PartyError, WireError, LogError, CryptoError) as error:
            trouble = trouble or error
            failed.add(duty)
    if trouble is not None:
        raise trouble


# -- what was said must reach the log --------------------------------------------------------------------------


def resend(member: Member) -> None:
    """Send again what has no leaf; a release only if it would be given again now (section 6)."""
    for statement in member.home.ledger.pending(member.id):
        if not _still_due(member, statement.type, statement.body):
            continue
        try:
            member.send(statement)
        except PartyError as refusal:  # what the host does not take must not keep this party from its other duties
            _note_once(member, f"the host did not take a {statement.type}", str(refusal))


def _still_due(member: Member, type: str, body: dict[str, Any]) -> bool:
    if type == "key-release":
        instance = member.view.instances.get(body["instance"])
        if instance is None or instance.over or not _active(member):
            return False
        try:
            _check_instance(member, instance)
        except (EvidenceError, LogError, Void, PartyError, StaleError):
            return False
    elif type == "result-release":
        found = member.view.records.get(body["record"])
        return found is not None and _stands(member) and _may_release(member, member.judged(), *found)
    return True


# -- deliver ---------------------------------------------------------------------------------------------------


def answer_linkage(member: Member) -> None:
    """Contribute unasked where another provider has begun, and refuse a contribution that does not open (section 5)."""
    if not _active(member):
        return
    for (agreement, group, period), shares in list(member.view.linkage.items()):
        if agreement != member.id or member.name not in member.agreement.pseudonyms[group].shared_by:
            continue
        linkage.contribute(member, group, period)
        for entry in shares.values():
            if entry.by == member.name or any(no.by == member.name for no in member.view.refusals.get(entry.id, [])):
                continue
            try:
                linkage.opened(member, entry)
            except PartyError as error:
                if _said(member, "refusal", of=entry.id):
                    continue
                member.say("refusal", {"of": entry.id, "reason": "linkage", "giver": entry.by, "sealed": {}})
                member.home.ledger.act(f"refused a contribution of {entry.by}", str(error), agreement=member.id)


# -- attest ----------------------------------------------------------------------------------------------------


def challenge_requests(member: Member) -> None:
    """Challenge every request in order that this party owns an input of or holds shares for (section 6.2)."""
    if not _active(member):
        return
    view = member.judged()
    for request in list(view.requests.values()):
        if request.agreement != member.id or view.counting_record(request.id) or view.run_refused(request.id):
            continue
        task = view.task(request)
        holder = member.name in task.holders.of
        if not holder and member.name not in _asked(view, request):
            continue
        try:
            view.check_request(request.id)
        except Void as reason:
            _note_once(member, f"no challenge for run {request.id[:12]}", str(reason))
            continue
        if not _open_challenges(member, view, request):
            _challenge(member, view, request, holder=holder)


def _asked(view: View, request: Entry[RunRequest]) -> set[str]:
    """Whose word a run needs: its owners', and those of whoever holds shares of the keys that open its deliveries."""
    holders = {name for group in view.needed_shares(request).values() for name in group.of}
    return holders | set(view.owners(request))


def _challenge(member: Member, view: View, request: Entry[RunRequest], *, holder: bool) -> None:
    checkpoint = member.follower.checkpoint
    assert checkpoint is not None
    body: dict[str, object] = {
        "request": request.id,
        "c": view.counter(request.body.task),
        "nonce": b64(secrets.token_bytes(32)),
        "checkpoint": checkpoint.note.decode(),
    }
    if holder:
        opener = Opener.generate()
        body["seal_to"] = opener.public().to_json()
        # before it is said: a share may be sealed to it as soon as the log has it
        ref = canonical.digest(body["seal_to"])
        member.home.ledger.keep_secret("seal-to", ref, opener.to_secret())
    try:
        sent = member.say("challenge", body)
    except PartyError:
        if holder:  # nobody was shown the key, so nothing is sealed to it
            member.home.ledger.destroy_secret("seal-to", ref)
        raise
    member.home.ledger.note_fact("challenged", sent.id, member.clock().isoformat())
    reason = f"run of {request.body.task} for {request.body.period}, asked by {request.by}"
    member.home.ledger.act(f"challenged any enclave that would run {request.id[:12]}", reason, agreement=member.id)


def _open_challenges(member: Member, view: View, request: Entry[RunRequest]) -> list[Entry[Challenge]]:
    """This party's challenges for the request and the present counter neither lapsed nor used up."""
    found = []
    for entry in view.challenges.values():
        if (entry.by, entry.body.request) != (member.name, request.id):
            continue
        if entry.body.c == view.counter(request.body.task) and _unlapsed(member, entry, view.task(request)):
            served = [each for each in view.instances.values() if entry.id in each.evidence.body.challenges]
            # an instance that is over has used it up, whether or not this party released to it
            if not any(instance.over for instance in served):
                found.append(entry)
    return found


def _unlapsed(member: Member, entry: Entry[Challenge], task: Task) -> bool:
    since = member.home.ledger.fact("challenged", entry.id)
    if since is None:
        return False  # not one of this home: whoever made it, it is not this agent's word
    return member.clock() < datetime.fromisoformat(since) + lasting(task.challenge_lapses)


# -- run -------------------------------------------------------------------------------------------------------


def release_keys(member: Member) -> None:
    """Give what this party has to the one instance that has shown what the agreement asks for (section 6.4).

    An owner gives the keys of its deliveries, or its consent where a key is drawn for it; a holder its shares of the
    newest state's key, and of the keys of the pseudonyms in a day that is asked for.
    """
    if not _active(member):
        return
    for fingerprint_ in list(member.view.instances):
        instance, view = member.view.instances[fingerprint_], member.judged()
        if instance.over or instance.request.agreement != member.id or instance.c != view.counter(instance.task):
            continue
        given = view.instances[fingerprint_]
        for of in view.needed_releases(instance.request):
            owner = view.deliveries[of].entry.by if of in view.deliveries else view.owners(instance.request)[0]
            if owner == member.name and of not in given.releases:
                _release_key(member, instance, of)
        for of, holders in view.needed_shares(instance.request).items():
            if member.name in holders.of and member.name not in given.shares.get(of, {}):
                _release_share(member, instance, of)


def _release_key(member: Member, instance: Instance, of: str) -> None:
    """An owner's release of a delivery's key; of a request, its consent that the key of its pseudonyms be drawn."""
    label = _approved(member, instance)
    if label is None:
        return
    if of == instance.request.id:
        _say_release(
            member, instance, {}, f"let the key of {instance.request.body.period}'s pseudonyms be drawn", label
        )
        return
    secret = member.home.ledger.secret("delivery-key", of)
    if secret is None:
        _note_once(member, f"no key for instance {instance.fingerprint[:12]}", "the delivery's key was destroyed")
        return
    context = contexts.delivery_key(
        member.id,
        owner=member.identity.fingerprint,
        instance=instance.fingerprint,
        request=instance.request.id,
        delivery=of,
    )
    sealed = seal(instance.evidence.body.card.sealing, context, canonical.encode(secret))
    _say_release(member, instance, {"delivery": of, "sealed": sealed}, f"released the key of delivery {of[:12]}", label)


def _release_share(member: Member, instance: Instance, of: str) -> None:
    """A holder's share of the newest state's key, or of a period key; one that is gone was destroyed for good."""
    state = of not in member.view.records
    left = member.view.state_record(instance.task) if state else member.view.records[of][0]
    secret = member.home.ledger.secret("state-share" if state else "key-share", left.id) if left else None
    if secret is None:
        _note_once(member, f"no share for instance {instance.fingerprint[:12]}", "this party has none of that key")
        return
    label = _approved(member, instance)
    if label is None:
        return
    context = contexts.share_release(
        member.id,
        holder=member.identity.fingerprint,
        instance=instance.fingerprint,
        request=instance.request.id,
        task=instance.task,
        c=instance.c,
        of=of,
    )
    sealed = seal(instance.evidence.body.card.sealing, context, unb64(secret["share"]))
    what = "the newest state" if state else "a day's pseudonyms"
    given = {"state" if state else "period_key": of, "sealed": sealed}
    _say_release(member, instance, given, f"released its share of the key of {what}", label)


def _approved(member: Member, instance: Instance) -> str | None:
    """What the evidence of an instance that may be released to calls itself; None if it may not, or not yet."""
    try:
        return _check_instance(member, instance)
    except (EvidenceError, LogError, Void, PartyError) as reason:
        _note_once(member, f"no key for instance {instance.fingerprint[:12]}", str(reason))
    except StaleError:
        pass  # its checkpoint is newer than what was read here: read on first
    return None


def _say_release(member: Member, instance: Instance, given: dict[str, Any], what: str, label: str) -> None:
    bound: dict[str, Any] = {"request": instance.request.id, "c": instance.c, "instance": instance.fingerprint}
    member.say("key-release", {**bound, **given})
    why = f"approved code, {label}, for run {instance.request.id[:12]} asked by {instance.request.by}"
    member.home.ledger.act(what, why, agreement=member.id)


def _check_instance(member: Member, instance: Instance) -> str:
    """All checks of section 6.4 but those of the key itself; what the evidence calls itself."""
    said, view = instance.evidence.body, member.judged()
    # evidence authentic at my clock, of code and kind that the agreement accepts, over this very instance
    appraised = appraise(said, member.agreement.enclave, now=member.clock())
    # bound to my unlapsed challenge
    mine = next((each for each in _open_challenges(member, view, instance.request) if each.id in said.challenges), None)
    if mine is None:
        raise PartyError("the evidence does not answer this party's open challenge")
    # its checkpoint at least mine, and consistent with what I read
    shown = member.follower.consistent(said.checkpoint.encode())
    asked = member.follower.verify_note(mine.body.checkpoint.encode())
    if shown.checkpoint.size < asked.checkpoint.size:
        raise PartyError("the instance has read less of the log than this party's challenge demands")
    # request still valid, its deliveries those in force, no record of it counts
    view.check_request(instance.request.id)
    if instance.c != view.counter(instance.task) or view.counting_record(instance.request.id):
        raise PartyError("the run was done by another instance")
    # no other live instance
    live = view.live(instance.task)
    if live is not None and live.fingerprint != instance.fingerprint:
        raise PartyError("another instance is live for this task")
    return appraised.label


def hear_refusals(member: Member) -> None:
    """Note what an enclave told this party alone about its delivery."""
    for run in member.view.requests:
        detail = refusal_detail(member, run)
        if detail is not None:
            _note_once(member, f"run {run[:12]} was refused over this party's delivery", detail)


# -- release ---------------------------------------------------------------------------------------------------


def keep_results(member: Member) -> None:
    """Store all ciphertexts that a live instance's record names, and say so: only then can it count (section 8)."""
    view = member.judged()
    for id, (record, instance) in list(view.records.items()):
        task = view.task(instance.request)
        if member.name not in task.keepers or _said(member, "kept", record=id):
            continue
        if record.agreement != member.id or (instance.over and not view.counts(id)):
            continue
        if not (record.body.outputs or record.body.state):
            continue  # it names no ciphertext
        if view.counts(id) and not record.body.outputs and view.tasks[instance.task].state != id:
            continue  # a state that was followed: who was away then need not keep it now
        try:
            for digest in _named_blobs(member, record.body):
                _keep_blob(member, digest)
        except (WireError, CryptoError) as error:
            _note_once(member, f"cannot keep the results of run {record.body.request[:12]} yet", str(error))
            continue
        member.say("kept", {"record": id})
        member.home.ledger.act(
            f"kept the sealed results of run {record.body.request[:12]}",
            "this party is a keeper: what it keeps cannot get lost with the host",
            agreement=member.id,
        )


def give_back(member: Member) -> int:
    """Give the host again what it has lost of the results kept here; how many blobs."""
    folder = kept_folder(member)
    # names of digests only: a crash may have left half a file of another name
    kept = sorted(path.name for path in folder.glob("[0-9a-f]*")) if folder.exists() else []
    missing = member.client.missing_blobs(member.id, kept) if kept else []
    for digest in missing:
        member.client.put_blob(member.id, (folder / digest).read_bytes())
    if missing:
        member.home.ledger.act(f"gave back {len(missing)} sealed blobs", "the host had lost them", agreement=member.id)
    return len(missing)


def kept_folder(member: Member) -> Path:
    """Where a keeper keeps an agreement's sealed results."""
    return member.home.path / "kept" / member.id


def _named_blobs(member: Member, record: RunRecord) -> list[str]:
    """The digests a record names, those in its lists of parts included."""
    found = []
    everything: list[Output | State] = [*record.outputs, *([record.state] if record.state else [])]
    for named in everything:
        found += [named.about, named.parts.digest]
        listed = parse_parts_list(_keep_blob(member, named.parts.digest, limit=MAX_LIST_BYTES))
        found += [part.sha256 for part in listed]
    return found


def drop_states(member: Member) -> None:
    """Delete the kept ciphertexts of states that were followed by a record that counts: nothing opens them any more.

    Those of versions before, too: their own members do not see what follows under this one.
    """
    for task, state in member.view.tasks.items():
        if task not in member.agreement.tasks or member.name not in member.agreement.tasks[task].keepers:
            continue
        for id in state.counting:
            record = member.view.records[id][0]
            if record.body.state is None or id == state.state or member.home.ledger.fact("dropped", id):
                continue
            if not member.view.goes_on(record.agreement):
                continue
            folder = member.home.path / "kept" / record.agreement
            listed = folder / record.body.state.parts.digest
            parts = parse_parts_list(listed.read_bytes()) if listed.exists() else []
            spared = _still_named(member, but=id)
            for digest in (*(part.sha256 for part in parts), record.body.state.about, listed.name):
                if digest not in spared:  # the list last: a crash before it must not hide the others
                    (folder / digest).unlink(missing_ok=True)
            member.home.ledger.note_fact("dropped", id, True)


def _still_named(member: Member, *, but: str) -> set[str]:
    """The digests that other records need: of results, and of states that are the newest of their tasks."""
    newest, found = {state.state for state in member.view.tasks.values()}, set[str]()
    for id, (record, _) in member.view.records.items():
        needed: list[Output | State] = [*record.body.outputs]
        needed += [record.body.state] if record.body.state and id in newest else []
        for named in needed if id != but else []:
            found |= {named.about, named.parts.digest}
            listed = member.home.path / "kept" / record.agreement / named.parts.digest
            found |= {part.sha256 for part in parse_parts_list(listed.read_bytes())} if listed.exists() else set()
    return found


def _keep_blob(member: Member, digest: str, *, limit: int | None = None) -> bytes:
    path = kept_folder(member) / digest
    if path.exists() and sha256(data := path.read_bytes()).hexdigest() == digest:
        return data
    data = member.client.get_blob(member.id, digest, **({"limit": limit} if limit else {}))
    write_private(path, data)
    return data


def take_shares(member: Member) -> None:
    """Take counting records in turn, skipping none: open the share, store it, destroy the keys it was sealed to."""
    ledger = member.home.ledger
    for task, state in list(member.view.tasks.items()):
        if task not in member.agreement.tasks or member.name not in member.agreement.tasks[task].holders.of:
            continue
        ref = f"{member.id}/{task}"
        taken = ledger.fact("taken", ref) or 0
        for c in range(taken, len(state.counting)):
            record, instance = member.view.records[state.counting[c]]
            if record.agreement != member.id:
                continue  # the member of that version takes it, and destroys its keys
            opened = _take_record(member, record, instance)
            # forward secrecy: what was sealed to these keys, in abandoned records too, is dead from here on; where the
            # share did not open they stay until the next record counts, or nobody could find out why
            for entry in member.view.challenges.values():
                same = (entry.agreement, member.view.requests[entry.body.request].body.task) == (member.id, task)
                if same and entry.body.c <= (c if opened else c - 1):
                    _destroy_seal_to(member, entry)
            ledger.note_fact("taken", ref, c + 1)


def _destroy_seal_to(member: Member, entry: Entry[Challenge]) -> None:
    if entry.by == member.name and entry.body.seal_to is not None:
        member.home.ledger.destroy_secret("seal-to", canonical.digest(entry.body.seal_to.to_json()))


def _take_record(member: Member, record: Entry[RunRecord], instance: Instance) -> bool:
    """Open and store all that a counting record holds for this party; False if anything of it does not open."""
    said, taken = record.body, True
    of: dict[str, Any] = {"instance": instance.fingerprint, "task": instance.task}
    if said.outputs:
        digest = contexts.outputs_digest([output.to_json() for output in said.outputs])
        bound = partial(contexts.result_share, member.id, **of, c=instance.c, outputs=digest)
        taken &= _take_share(member, "result-share", record, instance, said.shares, bound)
    if said.state is not None:
        bound = partial(contexts.state_share, member.id, **of, c=instance.c + 1, digest=said.state.digest)
        taken &= _take_share(member, "state-share", record, instance, said.state.shares, bound)
    if said.key is not None:
        place: dict[str, Any] = {"c": instance.c, "dataset": said.key.dataset, "period": instance.request.body.period}
        bound = partial(contexts.period_key_share, member.id, **of, **place)
        taken &= _take_share(member, "key-share", record, instance, said.key.shares, bound)
        if member.name == member.agreement.datasets[said.key.dataset].provider:
            taken &= _take_period_key(member, instance, said.key)
    return taken


def _take_share(
    member: Member,
    kind: str,
    record: Entry[RunRecord],
    instance: Instance,
    given: Mapping[str, SealedShare],
    bound: Callable[..., contexts.Context],
) -> bool:
    """Open and store this holder's share of a key; False if what was sealed for it does not open."""
    ledger = member.home.ledger
    if ledger.secret(kind, record.id) is not None or member.name not in given:
        return True
    mine = given[member.name]
    # bound to the card that was in force when the instance sealed: this party may have taken a new one since
    for identity in member.home.identities.values():
        context = bound(holder=identity.fingerprint)
        for opener in (*_seal_to_keys(member, instance), identity.opener):
            try:
                share = unseal(opener, context, mine.sealed)
            except CryptoError:
                continue
            if mac_matches(subkey(share, "share"), context, mine.mac):
                ledger.keep_secret(kind, record.id, {"share": b64(share)})
                return True
    run = record.body.request[:12]
    _note_once(member, f"no {kind} of run {run}", "what the enclave sealed does not open")
    return False


def _take_period_key(member: Member, instance: Instance, key: DrawnKey) -> bool:
    """Open and store the key of a day's pseudonyms, for `sealstat pseudonymise`; a closed day's is not taken again."""
    period = instance.request.body.period
    where: dict[str, Any] = {"task": instance.task, "c": instance.c, "dataset": key.dataset, "period": period}
    for identity in member.home.identities.values():
        context = contexts.period_key(member.id, instance=instance.fingerprint, provider=identity.fingerprint, **where)
        for opener in (*_seal_to_keys(member, instance), identity.opener):
            try:
                opened = unseal(opener, context, key.sealed)
            except CryptoError:
                continue
            if keep_period_key(member.home.ledger, member.id, key.dataset, period, opened):
                what = f"took the key of the pseudonyms of {key.dataset} for {period}"
                why = "an enclave with approved code drew it, for pseudonyms that are made here"
                member.home.ledger.act(what, why, agreement=member.id)
            return True
    _note_once(member, f"no key of the pseudonyms of {period}", "what the enclave sealed does not open")
    return False


def _seal_to_keys(member: Member, instance: Instance) -> list[Opener]:
    found = []
    for id in instance.evidence.body.challenges:
        entry = member.view.challenges[id]
        if entry.by == member.name and entry.body.seal_to is not None:
            secret = member.home.ledger.secret("seal-to", canonical.digest(entry.body.seal_to.to_json()))
            found += [Opener.from_secret(secret)] if secret else []
    return found


def release_results(member: Member) -> None:
    """Give this holder's share to the consumers, once per counter, if nothing stands against it (section 7)."""
    if not _stands(member):
        return
    view = member.judged()
    for id in member.home.ledger.secret_refs("result-share"):
        if id not in member.view.records or member.view.records[id][0].agreement != member.id:
            continue
        record, instance = member.view.records[id]
        if member.name in member.view.result_releases.get(id, {}):
            member.home.ledger.destroy_secret("result-share", id)  # given; nothing here opens it any more
        elif member.name not in view.result_releases.get(id, {}) and _may_release(member, view, record, instance):
            _release_result(member, record, instance)


def _may_release(member: Member, view: View, record: Entry[RunRecord], instance: Instance) -> bool:
    run, task = record.body.request[:12], view.task(instance.request)
    if not member.view.counts(record.id):
        return False
    if any(no.by in member.agreement.owners(instance.task) for no in view.refusals.get(record.id, [])):
        _note_once(member, f"held the result of run {run} back for good", "an owner of the data refused its release")
        return False
    if task.hold == "owner" and not _people_agree(member, view, record, instance):
        return False
    since = member.home.ledger.first_time("counting", record.id, member.clock())
    return member.clock() >= since + lasting(task.release_delay)


def _people_agree(member: Member, view: View, record: Entry[RunRecord], instance: Instance) -> bool:
    """Under ``hold: owner``: an owner gives its share at a person's word, any other holder after all owners did."""
    run, owners = record.body.request[:12], member.agreement.owners(instance.task)
    if member.name not in owners:
        return set(owners) <= view.result_releases.get(record.id, {}).keys()
    if member.home.ledger.fact("allowed", record.id):
        return True
    _note_once(member, f"the result of run {run} waits for a person", f"say `sealstat party allow {run}` or refuse")
    return False


def _release_result(member: Member, record: Entry[RunRecord], instance: Instance) -> None:
    secret = member.home.ledger.secret("result-share", record.id)
    assert secret is not None
    shares = {}
    for name in member.agreement.consumers(instance.task):
        card = member.view.cards[member.id][name]
        context = contexts.result_release(
            member.id, holder=member.identity.fingerprint, consumer=fingerprint(card), record=record.id
        )
        shares[name] = seal(card.sealing, context, unb64(secret["share"]))
    member.say("result-release", {"record": record.id, "shares": shares})
    to = ", ".join(shares)
    reason = "the record counts, its delay is over, and nobody with a say refused it"
    member.home.ledger.act(
        f"released its share of the result of run {record.body.request[:12]} to {to}", reason, agreement=member.id
    )


# -- forget ----------------------------------------------------------------------------------------------------


def forget_shares(member: Member) -> None:
    """Destroy what can never be of use again: shares of a stopped result, all keys and shares of an ended agreement."""
    view, ledger, now = member.judged(), member.home.ledger, member.clock()
    if view.ended(now):
        for entry in view.challenges.values():
            if entry.agreement == member.id:
                _destroy_seal_to(member, entry)
    over = member.id in view.withdrawals or now > member.agreement.valid.end
    for kind in ("state-share", "key-share"):
        for id in ledger.secret_refs(kind):
            # also of a version before: its state goes on under this one, and is followed here
            if id in view.records and view.goes_on(view.records[id][0].agreement):
                # superseded is not over: the task and its state go on under the version that followed
                why = "the agreement has ended" if over and not view.superseded() else _followed(view, id)
                if why is not None:
                    ledger.destroy_secret(kind, id)
                    ledger.act(f"destroyed its {kind} of record {id[:12]}", why, agreement=member.id)
    for id in ledger.secret_refs("result-share"):
        if id not in view.records or view.records[id][0].agreement != member.id:
            continue
        owners = member.agreement.owners(view.instance_of(id).task)
        if over or any(no.by in owners for no in view.refusals.get(id, [])):
            ledger.destroy_secret("result-share", id)
            why = "the agreement has ended" if over else "an owner of the data refused its release"
            member.home.ledger.act(f"destroyed its share of the result of record {id[:12]}", why, agreement=member.id)


def _followed(view: View, record: str) -> str | None:
    """Why a share that a record left is of no use any more; None as long as it is."""
    said, instance = view.records[record][0].body, view.instance_of(record)
    if said.key is not None:
        dataset, day = said.key.dataset, instance.request.body.period
        for name, task in view.agreement.tasks.items():
            report = report_of(task.report, day) if task.report and dataset in task.inputs.values() else None
            done = view.runs_counted(name, "ingest", day) or view.runs_counted(name, "finish", report or "")
            if report is not None and not done:
                return None  # this task can still take the day in
        return "every task that takes the day in has done so, or has made its report without it"
    return None if view.tasks[instance.task].state == record else "a newer state, or a report, has followed"


def end_retention(member: Member) -> None:
    """Destroy the key of every delivery whose time in the agreement is over (section 5)."""
    for id, since in member.home.ledger.facts("delivered").items():
        state = member.view.deliveries.get(id)
        if state is None or state.entry.agreement != member.id or state.expired:
            continue
        keep = lasting(member.agreement.datasets[state.entry.body.dataset].keep)
        if member.clock() >= datetime.fromisoformat(since) + keep:
            forget(member, id, why=f"its {keep // timedelta(days=1)} days in the agreement are over")


def staging_name(agreement: str, dataset: str, period: str) -> str:
    """What the folder, and the key, of a delivery in the making are called."""
    return canonical.digest([agreement, dataset, period])[:32]


def forget(member: Member, delivery: str, *, why: str) -> None:
    """Destroy a delivery's key, and the linkage contribution of its period, and say so in the log."""
    if _said(member, "expiry", delivery=delivery):
        return
    said = member.view.deliveries[delivery].entry.body
    member.home.ledger.destroy_secret("delivery-key", delivery)
    # a delivery that was cut after its leaf has left the same key with its sealed parts
    member.home.ledger.destroy_secret("staged", staging_name(member.id, said.dataset, said.period))
    group = member.agreement.linkage_group(said.dataset)
    if group is not None and not _linked(member, group, said.period, but=delivery):
        linkage.forget(member, group, said.period)
    member.say("expiry", {"delivery": delivery})
    member.home.ledger.act(f"destroyed the key of delivery {delivery[:12]}", why, agreement=member.id)


def forget_state(member: Member, task: str, *, why: str) -> None:
    """Destroy this holder's share of the key of a task's newest state, and say so in the log.

    Raises:
        PartyError: there is no state, or no share of it here.
    """
    left = member.view.state_record(task)
    if left is None or left.body.state is None:
        raise PartyError(f"the task {task} has no state: there is nothing to destroy")
    if member.name not in left.body.state.shares:
        raise PartyError(f"{member.name} holds no share of the state of {task}")
    # also where it was lost, or destroyed by a call that was cut off: then it is still to be said
    member.home.ledger.destroy_secret("state-share", left.id)
    if not _said(member, "expiry", state=left.body.state.digest):
        member.say("expiry", {"state": left.body.state.digest, "task": task})
    member.home.ledger.act(f"destroyed its share of the state of {task}", why, agreement=member.id)


def _linked(member: Member, group: str, period: str, *, but: str) -> bool:
    """Whether another delivery of this party still stands under the linkage key of a period."""
    for id, state in member.view.deliveries.items():
        said, entry = state.entry.body, state.entry
        if (entry.agreement, entry.by, said.period) == (member.id, member.name, period) and id != but:
            mine = member.agreement.linkage_group(said.dataset) == group
            if mine and not state.expired and not state.replaced:
                return True
    return False


# -- small questions -------------------------------------------------------------------------------------------


def _active(member: Member) -> bool:
    try:
        member.judged().check_active(member.clock())
    except InactiveError:
        return False
    return True


def _stands(member: Member) -> bool:
    try:
        member.judged().check_stands(member.clock())
    except InactiveError:
        return False
    return True


# -- recover ---------------------------------------------------------------------------------------------------


def warn_of_recoveries(member: Member) -> None:
    """Tell this party's people that others would give its place to another card: there is a delay to refuse it in."""
    for (agreement, new), waiting in member.view.recoveries.items():
        if (agreement, waiting.party) == (member.id, member.name):
            what = f"learnt that {', '.join(sorted(waiting.by))} would give this party a new card, {spoken(new)}"
            _note_once(member, what, "if its keys are not lost, say `sealstat party veto` before the delay is over")


def finish_recoveries(member: Member) -> None:
    """As a recovery approver, say that a new card holds when its delay has passed without a veto (section 4)."""
    recovery, newest = member.agreement.roles.recovery, member.follower.checkpoint
    if recovery is None or newest is None or member.name not in recovery.approvers:
        return
    liars = member.agreement.witnesses.liars_borne
    for (agreement, new), waiting in member.judged().recoveries.items():
        if agreement != member.id or waiting.agreed_at is None:
            continue
        note = member.home.ledger.fact("recovery-since", f"{agreement} {new}")
        if note is None:
            note = newest.note.decode()  # the first that holds enough of the approvers' words
            member.home.ledger.note_fact("recovery-since", f"{agreement} {new}", note)
        passed_s = newest.surely_not_after(liars) - member.follower.verify_note(note.encode()).surely_not_before(liars)
        if passed_s < seconds(recovery.delay) or _said(member, "replacement-final", new=new):
            continue
        member.say("replacement-final", {"new": new, "since": note, "until": newest.note.decode()})
        why = f"{', '.join(sorted(waiting.by))} vouched for it, {recovery.delay} have passed, and nobody vetoed"
        member.home.ledger.act(f"said that the new card of {waiting.party} holds", why, agreement=member.id)


def _said(member: Member, type: str, **fields: str) -> bool:
    """Whether this party has said so already, logged or not."""
    entries: list[dict[str, object]] = [
        member.view.statements[entry.id].body
        for entry in member.view.entries.values()
        if entry.by == member.name and member.view.statements[entry.id].type == type
    ]
    entries += [statement.body for statement in member.home.ledger.pending(member.id) if statement.type == type]
    return any(all(body.get(name) == value for name, value in fields.items()) for body in entries)


def _note_once(member: Member, what: str, why: str) -> None:
    if member.home.ledger.fact("noted", f"{what}: {why}") is None:
        member.home.ledger.note_fact("noted", f"{what}: {why}", True)
        member.home.ledger.act(what, why, agreement=member.id)
