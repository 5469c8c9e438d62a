"""What a verifier believes before it reads a proof: whose word counts, and how many witnesses are enough."""

from collections.abc import Iterable
from dataclasses import dataclass

from sealstat.crypto.cards import HostCard, PartyCard, WitnessCard, fingerprint
from sealstat.log.note import VerifierKey, parse_verifier_key


@dataclass(frozen=True, slots=True, kw_only=True)
class Trust:
    """What a verifier believes before it reads.

    Attributes:
        parties: fingerprints of parties' cards. Each must be a party of the agreement, and each approver among them
            must have approved; approvers not among them are named as not chosen by the verifier.
        witnesses: cosigner keys; empty: those of the agreement, and the verdict says so.
        quorum: how many of them must have cosigned; default: a majority of ``witnesses``, or what the agreement asks.
        log_key: of the log; default: that of the agreement.
    """

    parties: frozenset[str] = frozenset()
    witnesses: tuple[VerifierKey, ...] = ()
    quorum: int | None = None
    log_key: VerifierKey | None = None

    def __post_init__(self) -> None:
        if len({key.public for key in self.witnesses}) != len(self.witnesses):
            raise ValueError("two trusted witnesses have one key: each counts once")
        if self.quorum is not None and not 1 <= self.quorum <= (len(self.witnesses) or self.quorum):
            raise ValueError("the quorum lies outside 1 and the number of trusted witnesses")

    @classmethod
    def of_cards(cls, cards: Iterable[PartyCard | HostCard | WitnessCard], *, quorum: int | None = None) -> "Trust":
        """Trust in the holders of these cards."""
        cards = list(cards)
        hosts = [parse_verifier_key(card.log_key) for card in cards if isinstance(card, HostCard)]
        if len(hosts) > 1:
            raise ValueError("there are cards of several hosts: a proof is about one log")
        return cls(
            parties=frozenset(fingerprint(card) for card in cards if isinstance(card, PartyCard)),
            witnesses=tuple(parse_verifier_key(card.cosigner) for card in cards if isinstance(card, WitnessCard)),
            quorum=quorum,
            log_key=hosts[0] if hosts else None,
        )
