"""Bundles and tiles: the forms that are refused."""

import pytest

from sealstat.log import tiles
from sealstat.log.errors import MalformedError


@pytest.mark.parametrize(
    ("data", "width"),
    [
        pytest.param(b"", 1, id="nothing there"),
        pytest.param(b"\x00", 1, id="length cut"),
        pytest.param(b"\x00\x02a", 1, id="entry cut"),
        pytest.param(b"\x00\x01ab", 1, id="a byte left over"),
        pytest.param(b"\x00\x01a\x00\x00", 1, id="an entry too many"),
        pytest.param(b"\x00\x01a", 2, id="an entry too few"),
    ],
)
def test_a_bundle_of_another_form_is_refused(data, width):
    with pytest.raises(MalformedError):
        tiles.decode_bundle(data, width)


def test_entries_up_to_the_limit_fit_a_bundle():
    entries = [b"", b"a", bytes(65_535)]
    assert tiles.decode_bundle(tiles.encode_bundle(entries), 3) == entries
    with pytest.raises(MalformedError, match="65535"):
        tiles.encode_bundle([bytes(65_536)])


def test_a_tile_of_another_width_is_refused():
    with pytest.raises(MalformedError, match="96 bytes"):
        tiles.split_hashes(bytes(95), 3)


@pytest.mark.parametrize(
    ("level", "index", "width"), [(-1, 0, 1), (64, 0, 1), ("data", 0, 1), (0, -1, 1), (0, 0, 0), (0, 0, 257)]
)
def test_a_tile_that_no_log_has_is_refused(level, index, width):
    with pytest.raises(MalformedError):
        tiles.Tile(level, index, width)


def test_a_tile_beyond_the_size_is_refused():
    with pytest.raises(MalformedError):
        tiles.tile_at(0, 2, 512)


def test_an_append_needs_only_what_changed():
    assert [tile.path for tile in tiles.new_tiles(3, 4)] == ["tile/entries/000.p/4", "tile/0/000.p/4"]
    assert [tile.path for tile in tiles.new_tiles(255, 257)] == [
        *("tile/entries/000", "tile/entries/001.p/1", "tile/0/000", "tile/0/001.p/1", "tile/1/000.p/1")
    ]
    assert tiles.new_tiles(300, 300) == []
