"""A host's home: made once, opened by its passphrase, refused when its files are loose or mixed up."""

from datetime import UTC, datetime
from pathlib import Path

import pytest

import builders
from sealstat.crypto.cards import HostCard, fingerprint
from sealstat.crypto.errors import KeystoreError
from sealstat.host import setup
from sealstat.host.access import Cards
from sealstat.host.errors import HostError
from sealstat.host.settings import Settings
from sealstat.host.store import Store, sqlite_url


def create(home: Path, *, passphrase: str | None = None) -> HostCard:
    return setup.create(
        home,
        "data-centre",
        origin="stats.example/log",
        valid_from=datetime(2026, 1, 1, tzinfo=UTC),
        valid_to=datetime(2030, 1, 1, tzinfo=UTC),
        passphrase=passphrase,
    )


@pytest.mark.parametrize("passphrase", [None, "correct horse"])
def test_a_home_opens_with_the_keys_of_its_card(tmp_path: Path, passphrase: str | None) -> None:
    card = create(tmp_path, passphrase=passphrase)
    keys = setup.load_keys(tmp_path, passphrase)
    assert keys.card == card == setup.load_card(tmp_path)
    assert keys.fingerprint == fingerprint(card)
    assert keys.is_launcher((tmp_path / setup.TOKEN_FILE).read_text().strip())
    assert not keys.is_launcher("")
    assert all(file.stat().st_mode & 0o077 == 0 for file in tmp_path.iterdir())
    assert keys.launcher_token not in repr(keys)


def test_encrypted_keys_need_their_passphrase(tmp_path: Path) -> None:
    create(tmp_path, passphrase="correct horse")
    with pytest.raises(KeystoreError, match="SEALSTAT_PASSPHRASE_FILE"):
        setup.load_keys(tmp_path, None)
    with pytest.raises(KeystoreError, match="does not open"):
        setup.load_keys(tmp_path, "battery staple")


def test_a_home_is_made_once(tmp_path: Path) -> None:
    create(tmp_path)
    with pytest.raises(HostError, match="already"):
        create(tmp_path)


def test_an_empty_home_is_refused(tmp_path: Path) -> None:
    with pytest.raises(HostError, match="create one first"):
        setup.load_keys(tmp_path, None)


@pytest.mark.parametrize("file", [setup.PLAIN_KEYS_FILE, setup.TOKEN_FILE])
def test_secrets_that_others_may_read_are_refused(tmp_path: Path, file: str) -> None:
    create(tmp_path)
    (tmp_path / file).chmod(0o644)
    with pytest.raises(KeystoreError, match="chmod 600"):
        setup.load_keys(tmp_path, None)


def test_a_card_of_other_keys_is_refused(tmp_path: Path) -> None:
    create(tmp_path / "one")
    create(tmp_path / "two")
    (tmp_path / "one" / setup.CARD_FILE).replace(tmp_path / "two" / setup.CARD_FILE)
    with pytest.raises(HostError, match="do not belong together"):
        setup.load_keys(tmp_path / "two", None)


def test_an_admitted_card_is_known_and_may_be_admitted_twice(tmp_path: Path) -> None:
    card = create(tmp_path)
    party = builders.party("operator-a")[0]
    store = Store(sqlite_url(tmp_path), identity=fingerprint(card))
    try:
        assert Cards(store).key_of(fingerprint(party)) is None
        setup.admit(tmp_path, party)
        setup.admit(tmp_path, party)
        assert Cards(store).key_of(fingerprint(party)) is not None
    finally:
        store.close()


@pytest.mark.parametrize("url", ["ftp://host", "http://", "host:8700", "http://host/path", "http://host?x=1"])
def test_a_url_that_callers_could_not_sign_is_refused(tmp_path: Path, url: str) -> None:
    with pytest.raises(ValueError, match="without a path"):
        Settings(home=tmp_path, url=url)


def test_a_quorum_of_more_witnesses_than_there_are_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="quorum"):
        Settings(home=tmp_path, url="http://host", quorum=1)
