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


def delivery_place(dataset: str, period: str) -> dict[str, Any]:
    """Where a sealed delivery belongs (section 5)."""
    return {"dataset": dataset, "period": period}


def _context(use: str, agreement: str, sender: str, receiver: str, **more: Any) -> Context:
    return {"use": use, "agreement": agreement, "from": sender, "to": receiver, **more}
