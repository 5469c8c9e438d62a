"""Nonces and rates."""

from pathlib import Path

import pytest

from sealstat.host.access import Nonces, Rates
from sealstat.host.errors import RefusedError
from sealstat.host.store import Store, sqlite_url


def test_a_nonce_is_spent_once_and_remembered_over_a_restart(tmp_path: Path) -> None:
    store = Store(sqlite_url(tmp_path), identity="ab" * 32)
    nonces = Nonces(store)
    nonces.spend("f" * 64, "n" * 20, 2_000_000_000).result()
    nonces.spend("e" * 64, "n" * 20, 2_000_000_000).result()
    with pytest.raises(RefusedError, match="sent before"):
        nonces.spend("f" * 64, "n" * 20, 2_000_000_000)
    store.close()
    store = Store(sqlite_url(tmp_path), identity="ab" * 32)
    with pytest.raises(RefusedError, match="sent before"):
        Nonces(store).spend("f" * 64, "n" * 20, 2_000_000_000)
    store.close()


def test_a_nonce_is_forgotten_when_its_window_has_passed(tmp_path: Path) -> None:
    store = Store(sqlite_url(tmp_path), identity="ab" * 32)
    nonces = Nonces(store)
    nonces.spend("f" * 64, "old" * 8, 1_000).result()
    nonces._next_forgetting = 0.0
    nonces.spend("f" * 64, "new" * 8, 2_000_000_000).result()
    assert set(nonces._seen) == {("f" * 64, "new" * 8)}
    store.close()


def test_a_bucket_lets_a_burst_through_and_then_the_rate() -> None:
    rates = Rates(per_s=2.0, burst=3, open_calls=1)
    for _ in range(3):
        rates.take("a", now=0.0)
    with pytest.raises(RefusedError):
        rates.take("a", now=0.0)
    rates.take("b", now=0.0)
    with pytest.raises(RefusedError):
        rates.take("a", now=0.4)
    rates.take("a", now=0.6)


def test_calls_open_at_once_are_limited_until_one_is_answered() -> None:
    rates = Rates(per_s=1.0, burst=9, open_calls=2)
    rates.enter("a", now=0.0)
    rates.enter("a", now=0.0)
    with pytest.raises(RefusedError, match="open"):
        rates.enter("a", now=0.0)
    rates.leave("a")
    rates.enter("a", now=0.0)
