"""What each sealed message is bound to: one function per purpose (protocol.md, first paragraph, sections 5 to 8).

HPKE's base mode proves no sender, so everything that makes a message this one and no other stands here.
"""

from collections.abc import Iterable, Mapping
from typing import Any

from sealstat.crypto import canonical

Context = dict[str, Any]


def linkage_share(agreement: str, *, giver: str, receiver: str, group: str, period: str) -> Context:
    """A contribution to a period's linkage key, from one provider to another (section 5)."""
    return _context("linkage-share", agreement, giver, receiver, group=group, period=period)


def delivery_key(agreement: str, *, owner: str, instance: str, request: str, delivery: str) -> Context:
    """A delivery's key, from its owner to one instance (section 6.4)."""
    more = {"request": request, "delivery": delivery, "instance": instance}
    return _context("delivery-key", agreement, owner, instance, **more)


def share_release(agreement: str, *, holder: str, instance: str, request: str, task: str, c: int, of: str) -> Context:
    """A share of a state's key, or of a period key, from its holder to one instance (sections 5, 6.4)."""
    return _context("share-release", agreement, holder, instance, request=request, task=task, c=c, digest=of)


def state_share(agreement: str, *, instance: str, holder: str, task: str, c: int, digest: str) -> Context:
    """A share of the key of state c, from the instance that made it to a holder; its MAC is over the same."""
    return _context("state-share", agreement, instance, holder, task=task, c=c, instance=instance, digest=digest)


def period_key(
    agreement: str, *, instance: str, provider: str, task: str, c: int, dataset: str, period: str
) -> Context:
    """A period key, from the instance that drew it to the provider whose pseudonyms it makes (section 5)."""
    place = {"task": task, "c": c, "dataset": dataset, "period": period}
    return _context("period-key", agreement, instance, provider, **place)


def period_key_share(
    agreement: str, *, instance: str, holder: str, task: str, c: int, dataset: str, period: str
) -> Context:
    """A share of a period key, from the instance that drew it to a holder; its MAC is over the same."""
    place = {"task": task, "c": c, "dataset": dataset, "period": period}
    return _context("period-key-share", agreement, instance, holder, instance=instance, **place)


def told(agreement: str, *, instance: str, owner: str, request: str) -> Context:
    """What became of a delivery in a run, from the instance to its provider alone."""
    return _context("told", agreement, instance, owner, request=request)


def output_key(agreement: str, *, instance: str, consumer: str, request: str, task: str, c: int, table: str) -> Context:
    """An output's key part, from the instance to one of its consumers (section 6.6)."""
    return _context("output-key", agreement, instance, consumer, request=request, task=task, c=c, table=table)


def result_share(agreement: str, *, instance: str, holder: str, task: str, c: int, outputs: str) -> Context:
    """A share of the result key, from the instance to a holder; its MAC is over the same (section 8)."""
    return _context("result-share", agreement, instance, holder, task=task, c=c, instance=instance, digest=outputs)


def result_release(agreement: str, *, holder: str, consumer: str, record: str) -> Context:
    """A share of the result key, from a holder to a consumer (section 7)."""
    return _context("result-release", agreement, holder, consumer, **{"run-record": record})


def refusal_detail(agreement: str, *, instance: str, owner: str, request: str) -> Context:
    """What was wrong with a delivery, from the instance to its owner alone (section 6)."""
    return _context("refusal", agreement, instance, owner, request=request)


def outputs_digest(outputs: Iterable[Mapping[str, Any]]) -> str:
    """H(JCS of the output digests), to which the shares of a result key are bound (section 8)."""
    return canonical.digest([[output["table"], output["parts"]["digest"], output["about"]] for output in outputs])


def result_place(task: str, c: int, table: str) -> dict[str, Any]:
    """Where a sealed result belongs (section 5)."""
    return {"task": task, "c": c, "table": table}


def state_place(task: str, c: int) -> dict[str, Any]:
    """Where the sealed state of counter c belongs (section 5)."""
    return {"task": task, "c": c, "table": "state"}


def delivery_place(dataset: str, period: str) -> dict[str, Any]:
    """Where a sealed delivery belongs (section 5)."""
    return {"dataset": dataset, "period": period}


def _context(use: str, agreement: str, sender: str, receiver: str, **more: Any) -> Context:
    return {"use": use, "agreement": agreement, "from": sender, "to": receiver, **more}
