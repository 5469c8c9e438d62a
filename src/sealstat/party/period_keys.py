"""The keys of pseudonyms that an enclave drew for this party, until they are destroyed (docs/pseudonyms.md)."""

from sealstat.crypto import canonical
from sealstat.crypto.cards import b64
from sealstat.party.ledger import Ledger

KEY, CLOSED = "period-key", "period-closed"
"""What the ledger calls the secret, and the fact that a period takes no key any more."""


def period_key_ref(agreement: str, dataset: str, period: str) -> str:
    """Under what the ledger keeps a period's key, and that the period is closed."""
    return canonical.digest([agreement, dataset, period])


def keep_period_key(ledger: Ledger, agreement: str, dataset: str, period: str, key: bytes) -> bool:
    """Store the key that the enclave drew, for the agent; whether it is the period's key from now on.

    The first key stays: a later one for the same period is not stored, nor is any after the period was closed.
    """
    ref = period_key_ref(agreement, dataset, period)
    kept = not is_closed(ledger, ref) and ledger.keep_first_secret(KEY, ref, {"key": b64(key)})
    if is_closed(ledger, ref):  # by another process, in between
        ledger.destroy_secret(KEY, ref)
        return False
    return kept


def is_closed(ledger: Ledger, ref: str) -> bool:
    """Whether a period was closed here."""
    return ledger.fact(CLOSED, ref) is not None
