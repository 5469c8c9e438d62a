"""Files of ciphertext: whole or not at all."""

from hashlib import sha256
from pathlib import Path

import pytest

from sealstat.host.blobs import Blobs
from sealstat.host.errors import RefusedError

AGREEMENT = "ab" * 32
DATA = b"ciphertext" * 1000
DIGEST = sha256(DATA).hexdigest()


@pytest.fixture
def blobs(tmp_path: Path) -> Blobs:
    return Blobs(tmp_path / "blobs", floor_bytes=0)


def files(blobs: Blobs) -> list[tuple[str, str, int]]:
    return list(blobs.files())


def test_a_finished_upload_is_there_under_its_digest(blobs: Blobs) -> None:
    with blobs.receive(AGREEMENT, DIGEST, len(DATA)) as upload:
        upload.write(DATA[:10])
        upload.write(DATA[10:])
        assert files(blobs) == []
        upload.finish()
    assert blobs.has(AGREEMENT, DIGEST, len(DATA))
    assert blobs.path(AGREEMENT, DIGEST).read_bytes() == DATA
    assert files(blobs) == [(AGREEMENT, DIGEST, len(DATA))]
    blobs.remove(AGREEMENT, DIGEST)
    blobs.remove(AGREEMENT, DIGEST)
    assert files(blobs) == []


@pytest.mark.parametrize(
    ("chunks", "code"),
    [
        ([DATA[:-1]], "truncated"),
        ([DATA[:-1] + b"x"], "wrong-digest"),
        ([DATA, b"x"], "wrong-length"),
        ([], "truncated"),
    ],
    ids=["one byte short", "one byte changed", "one byte more", "nothing"],
)
def test_an_upload_that_is_not_its_digest_leaves_nothing(blobs: Blobs, chunks: list[bytes], code: str) -> None:
    upload = blobs.receive(AGREEMENT, DIGEST, len(DATA))

    def send() -> None:
        with upload:
            for chunk in chunks:
                upload.write(chunk)
            upload.finish()

    with pytest.raises(RefusedError) as refused:
        send()
    assert refused.value.code == code
    assert files(blobs) == []
    assert not list(blobs._incoming.iterdir())


def test_what_a_crash_left_unfinished_is_removed(tmp_path: Path) -> None:
    blobs = Blobs(tmp_path, floor_bytes=0)
    with blobs.receive(AGREEMENT, DIGEST, len(DATA)) as upload:
        upload.write(b"half")
        Blobs(tmp_path, floor_bytes=0)
        assert not list(blobs._incoming.iterdir())


def test_an_upload_that_would_fill_the_disk_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RefusedError) as refused:
        Blobs(tmp_path, floor_bytes=1 << 60).receive(AGREEMENT, DIGEST, 1)
    assert (refused.value.status, refused.value.code) == (507, "disk-full")
