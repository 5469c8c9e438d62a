from datetime import UTC, datetime
from pathlib import Path

import pytest

from sealstat.crypto import keystore
from sealstat.crypto.cards import fingerprint
from sealstat.crypto.errors import KeystoreError
from sealstat.crypto.identity import Signer
from sealstat.party.errors import PartyError
from sealstat.party.home import Home, create_home, read_card, read_recovery_key, renew_home

NOW = datetime(2026, 11, 2, 9, 30, tzinfo=UTC)
WORD = "a passphrase"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    create_home(tmp_path / "home", "operator-a", WORD, recovery_file=tmp_path / "recovery", now=NOW)
    return tmp_path / "home"


def test_a_new_home_holds_what_its_card_says(path: Path) -> None:
    home = Home(path, WORD)
    assert home.name == "operator-a"
    assert fingerprint(read_card(path)) == home.fingerprint
    assert home.identity.signer.public() == read_card(path).keys
    assert read_card(path).valid.covers(NOW)
    home.ledger.close()


def test_the_recovery_key_is_in_its_own_file_and_the_card_names_it(path: Path) -> None:
    from sealstat.crypto import canonical

    secret = keystore.read(path.parent / "recovery", WORD)
    recovery = Signer.from_secret(secret["recovery"])
    assert canonical.digest(recovery.public().to_json()) == read_card(path).recovery
    assert secret["recovery"] not in keystore.read(path / "identity.keystore", WORD)["identities"]


def test_no_home_and_no_recovery_key_is_ever_overwritten(path: Path) -> None:
    with pytest.raises(PartyError, match="holds a party already"):
        create_home(path, "operator-b", WORD, recovery_file=path.parent / "more", now=NOW)
    with pytest.raises(PartyError, match="name another file"):
        create_home(path.parent / "other", "operator-b", WORD, recovery_file=path.parent / "recovery", now=NOW)


def test_everything_is_for_its_owner_alone(path: Path) -> None:
    Home(path, WORD).ledger.close()
    assert path.stat().st_mode & 0o077 == 0
    assert all(each.stat().st_mode & 0o077 == 0 for each in path.rglob("*") if each.is_file())
    (path / "identity.keystore").chmod(0o640)
    with pytest.raises(KeystoreError, match="others may read"):
        Home(path, WORD)


def test_a_wrong_passphrase_opens_no_home(path: Path) -> None:
    with pytest.raises(KeystoreError, match="passphrase"):
        Home(path, "another")


def test_a_new_card_stands_beside_the_old_and_keeps_the_recovery_key(path: Path) -> None:
    home = Home(path, WORD)
    old = home.identity
    new = home.rotate(now=NOW)
    assert new.card.recovery == old.card.recovery
    assert new.fingerprint != old.fingerprint
    again = Home(path, WORD)
    assert list(again.identities) == [old.fingerprint, new.fingerprint]
    assert again.fingerprint == fingerprint(read_card(path)) == new.fingerprint
    again.ledger.close()
    home.ledger.close()


def test_two_processes_that_take_new_cards_lose_none(path: Path) -> None:
    one, other = Home(path, WORD), Home(path, WORD)
    made = [one.rotate(now=NOW).fingerprint, other.rotate(now=NOW).fingerprint]
    again = Home(path, WORD)
    assert list(again.identities)[1:] == made
    for home in (one, other, again):
        home.ledger.close()


def test_keys_do_not_show_themselves(path: Path) -> None:
    home = Home(path, WORD)
    secrets = [*home.identity.signer.to_secret().values(), *home.identity.opener.to_secret().values()]
    assert not any(secret in repr(home.identity) for secret in secrets)
    home.ledger.close()


def test_a_folder_without_a_card_and_a_damaged_card_are_named(path: Path) -> None:
    with pytest.raises(PartyError, match="sealstat party create"):
        read_card(path.parent)
    (path / "card.json").write_bytes(b"{}")
    with pytest.raises(PartyError, match="damaged"):
        read_card(path)


def test_a_recovery_key_makes_a_fresh_home_where_the_old_one_is_lost(path: Path) -> None:
    key = read_recovery_key(path.parent / "recovery", WORD)
    home = renew_home(path.parent / "fresh", key, WORD, now=NOW)
    assert (home.name, home.identity.card.recovery) == ("operator-a", read_card(path).recovery)
    assert home.fingerprint != fingerprint(read_card(path))
    assert home.ledger.agreements() == []
    home.ledger.close()


def test_a_recovery_key_adds_an_identity_to_the_home_that_is_there(path: Path) -> None:
    old = fingerprint(read_card(path))
    home = renew_home(path, read_recovery_key(path.parent / "recovery", WORD), WORD, now=NOW)
    assert list(home.identities) == [old, home.fingerprint]
    home.ledger.close()


def test_another_partys_recovery_key_and_other_files_are_refused(path: Path) -> None:
    create_home(path.parent / "b", "operator-b", WORD, recovery_file=path.parent / "recovery-b", now=NOW)
    before = (path / "identity.keystore").read_bytes()
    with pytest.raises(PartyError, match="another one than the card of operator-a names"):
        renew_home(path, read_recovery_key(path.parent / "recovery-b", WORD), WORD, now=NOW)
    assert (path / "identity.keystore").read_bytes() == before
    with pytest.raises(PartyError, match="holds no recovery key"):
        read_recovery_key(path / "identity.keystore", WORD)
    with pytest.raises(KeystoreError, match="does not open"):
        read_recovery_key(path.parent / "recovery", "another passphrase")
