"""A proof as one page that people file: what was found, for reading; and the proof itself, for checking it again.

The page's words are not signed, and nobody should believe them for their looks: what counts is the proof in it, which
:func:`proof_in` takes out again, ignoring everything else.
"""

from dataclasses import dataclass
from datetime import datetime
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import Any, TypeVar

import sealstat
from sealstat.agreement import statements as body
from sealstat.agreement.model import Agreement
from sealstat.crypto.cards import PartyCard, Strict, b64, fingerprint, spoken, unb64
from sealstat.crypto.errors import MalformedError
from sealstat.crypto.statement import Statement
from sealstat.log.checkpoint import parse_checkpoint
from sealstat.log.note import parse_note
from sealstat.verify.bundle import BUNDLE_LIMIT_BYTES, Bundle, Placed, parse_bundle
from sealstat.verify.errors import BundleError
from sealstat.verify.render import plain
from sealstat.verify.verdict import Verdict

PAGE_LIMIT_BYTES = BUNDLE_LIMIT_BYTES * 3 // 2  # base64 in lines takes 1.36 times the proof; the rest is the page
_LINK = b'href="data:application/json;base64,'
_WIDTH = 76

B = TypeVar("B", bound=Strict)


def make_certificate(data: bytes, verdict: Verdict, *, now: datetime) -> str:
    """The certificate of a proof that was verified, as a page of HTML with the proof in it.

    Args:
        data: the proof, as it was given to ``verify_bundle``.
        verdict: what that returned.
        now: when it was checked.
    Raises:
        BundleError: the proof was not verified: there is nothing to certify.
    """
    if not verdict.ok:
        raise BundleError(f"a proof that is not verified gets no certificate: {verdict.failure}")
    proof = b64(data)
    kind = " ".join(line.sentence for line in verdict.lines if line.key == "evidence.kind")
    return str(
        _template().render(
            _Facts.of(data).to_page(verdict),
            hardware=verdict.hardware,
            pretended=[word for word in ("SIMULATED", "SOFTWARE TPM") if word in kind],
            checked=now.strftime("%Y-%m-%d %H:%M:%S UTC"),
            version=sealstat.__version__,
            sha256=sha256(data).hexdigest(),
            proof=[proof[start : start + _WIDTH] for start in range(0, len(proof), _WIDTH)],
        )
    )


def proof_in(file: bytes) -> bytes:
    """The proof in a file: the one that a certificate holds, or, of any other file, the file itself.

    Raises:
        BundleError: it looks like a certificate, and holds no proof, or several.
    """
    if not file.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"<"):  # a proof is JSON; an editor may have put a BOM here
        return file
    if len(file) > PAGE_LIMIT_BYTES:
        raise BundleError(f"the page has more than {PAGE_LIMIT_BYTES} bytes: it is no certificate")
    if file.count(_LINK) != 1:
        # of two, another reader could take the other one
        raise BundleError("expected a certificate, a page with one proof in it; got a page with none or several")
    try:
        return unb64(b"".join(file.partition(_LINK)[2].partition(b'"')[0].split()).decode("ascii"))
    except (MalformedError, UnicodeDecodeError) as error:
        raise BundleError("the proof in the certificate is damaged: it is no base64") from error


@dataclass(frozen=True, slots=True)
class _Facts:
    """What stands in a verified proof, as tables: ``verify_bundle`` has checked that it fits together."""

    bundle: Bundle
    said: dict[str, Statement]
    leaves: dict[str, int]

    @classmethod
    def of(cls, data: bytes) -> "_Facts":
        bundle = parse_bundle(data)
        said = {statement.id: statement for statement in map(Placed.statement, bundle.statements)}
        return cls(bundle, said, dict(zip(said, (placed.index for placed in bundle.statements), strict=True)))

    def to_page(self, verdict: Verdict) -> dict[str, Any]:
        record = self._body(self.bundle.record, body.RunRecord)
        request = self._body(record.request, body.RunRequest)
        agreement = self._body(self.bundle.agreement, Agreement)
        tree = parse_checkpoint(parse_note(self.bundle.checkpoint.encode()).text)
        status = {line.key: line.status for line in verdict.lines}
        releases = agreement.tasks[request.task].releases
        return {
            "agreement": agreement,
            "purpose": next(each for each in agreement.purpose if each.id == request.purpose),
            "made": self._made(self.bundle.agreement),
            "approvals": [
                self._made(id) | {"text": said, "status": status[f"agreement.approval.{self._name(id)}"]}
                for id, said in self._approvals()
            ],
            "request": self._made(record.request) | {"said": request},
            "record": self._made(self.bundle.record) | {"said": record},
            "kind": self._body(record.evidence, body.EnclaveEvidence).kind,
            "parameters": [f"{name} = {_short(value)}" for name, value in record.parameters.items()],
            "deliveries": [self._made(id) | {"said": self._body(id, body.Delivery)} for id in record.deliveries],
            "outputs": [
                {"said": output, "to": releases[output.table].to, "held": f"outputs.result.{output.table}" in status}
                for output in record.outputs
            ],
            "tree": {"origin": tree.origin, "size": tree.size, "root": b64(tree.root)},
            "lines": lambda *keys: [line for line in verdict.lines if line.key.startswith(keys)],
        }

    def _approvals(self) -> list[tuple[str, body.Approval]]:
        """Those of the record's own version: a proof holds those of versions before as well."""
        mine = [id for id, said in self.said.items() if said.frame.agreement == self.bundle.agreement]
        return [(id, self._body(id, body.Approval)) for id in mine if self.said[id].type == "approval"]

    def _made(self, id: str) -> dict[str, Any]:
        """Who made a statement, by which card, when by its own word, and where it stands in the log."""
        said = self.said[id]
        return {"id": id, "by": self._name(id), "card": spoken(said.by), "at": said.frame.at, "leaf": self.leaves[id]}

    def _name(self, id: str) -> str:
        said, by = map(body.parse_body, self.said.values()), self.said[id].by
        cards = [card for each in said for card in _cards(each)]
        return next((card.name for card in cards if fingerprint(card) == by), "the instance")

    def _body(self, id: str, model: type[B]) -> B:
        parsed = body.parse_body(self.said[id])
        assert isinstance(parsed, model)
        return parsed


def _cards(said: Strict) -> list[PartyCard]:
    if isinstance(said, Agreement):
        return [party.card for party in said.parties.values()]
    return [said.new] if isinstance(said, body.Replacement) else []


def _short(value: Any) -> str:
    return f"{len(value):,} entries" if isinstance(value, list | dict) else str(value)


@cache
def _template() -> Any:
    import jinja2
    import markupsafe

    return jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent / "templates"),
        autoescape=True,
        finalize=lambda value: value if isinstance(value, markupsafe.Markup) else plain(str(value)),
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    ).get_template("certificate.html")
