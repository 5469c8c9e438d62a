import os
from pathlib import Path

import pytest

from sealstat.crypto import canonical, keystore
from sealstat.crypto.errors import KeystoreError

CANARY = "canary-5f0c9d1e7b"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    keystore.write(tmp_path / "keys" / "identity", {"key": CANARY}, "the passphrase")
    return tmp_path / "keys" / "identity"


def test_secrets_come_back_and_do_not_stand_in_the_file(path: Path) -> None:
    assert keystore.read(path, "the passphrase") == {"key": CANARY}
    assert CANARY.encode() not in path.read_bytes()


def test_a_wrong_passphrase_opens_nothing(path: Path) -> None:
    with pytest.raises(KeystoreError, match="passphrase does not open"):
        keystore.read(path, "the passphrase ")


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o644])
def test_a_file_that_others_may_read_is_refused(path: Path, mode: int) -> None:
    path.chmod(mode)
    with pytest.raises(KeystoreError, match=f"mode {mode:o}.*chmod 600"):
        keystore.read(path, "the passphrase")


def test_files_are_made_for_their_owner_alone_whatever_the_umask(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        keystore.write_private(tmp_path / "new" / "file", b"x")
    finally:
        os.umask(before)
    assert (tmp_path / "new" / "file").stat().st_mode & 0o777 == 0o600
    assert (tmp_path / "new").stat().st_mode & 0o777 == 0o700


def test_a_damaged_file_says_so_and_gives_nothing(path: Path) -> None:
    right = path.read_bytes()
    for wrong in (b"", right[: len(right) // 2], b"{}", b"[]", right.replace(b'"n":65536', b'"n":1024')):
        path.write_bytes(wrong)
        with pytest.raises(KeystoreError, match="damaged"):
            keystore.read(path, "the passphrase")


@pytest.mark.parametrize("field", ["nonce", "salt", "version"])
def test_a_changed_header_opens_nothing(path: Path, field: str) -> None:
    value = canonical.decode(path.read_bytes().strip(), limit=1 << 20)
    value[field] = (
        2 if field == "version" else "A" + value[field][1:] if value[field][0] != "A" else "B" + value[field][1:]
    )
    path.write_bytes(canonical.encode(value))
    with pytest.raises(KeystoreError):
        keystore.read(path, "the passphrase")


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(KeystoreError, match="cannot read the keystore"):
        keystore.read(tmp_path / "none", "x")


def test_a_write_that_fails_leaves_the_old_file_whole(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        keystore.write(path, {"key": "another"}, "the passphrase")
    assert keystore.read(path, "the passphrase") == {"key": CANARY}
    assert [each.name for each in path.parent.iterdir()] == [path.name]
