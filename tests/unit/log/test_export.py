"""Copies of a log: proven file by file, resumable, and as any static server serves them."""

import pytest

from sealstat.log.errors import MalformedError, MissingTileError, Rollback, SplitView, TreeMismatchError
from sealstat.log.export import export, read_folder
from sealstat.log.reader import LogReader
from sealstat.log.tiles import new_tiles

SIZES = [0, 1, 255, 256, 257, 600, 65_536, 70_000]


@pytest.fixture
def out(tmp_path):
    return tmp_path / "export"


def files(out):
    return {str(path.relative_to(out)) for path in out.rglob("*") if path.is_file()}


@pytest.mark.parametrize("size", SIZES)
def test_a_copy_has_every_file_of_the_log_and_checks_whole(make_log, out, size):
    log = make_log(size)
    done = export(log.fetch, log.verified(), out)
    assert (done.size, done.written, done.present) == (size, len(log.files), 0)
    assert files(out) == {"checkpoint", *(tile.path for tile in new_tiles(0, size))}
    fetch = read_folder(out)
    assert all(fetch(path) == data for path, data in log.files.items())
    assert LogReader(fetch).check_whole_log(log.verify(fetch("checkpoint")).checkpoint).size == size


def test_a_copy_that_was_interrupted_goes_on(make_log, out):
    log = make_log(70_000)
    before = dict(log.files)
    for path in list(log.files):
        if path.startswith("tile/entries/2"):
            del log.files[path]
    with pytest.raises(MissingTileError):
        export(log.fetch, log.verified(), out)
    assert not (out / "checkpoint").exists()
    log.files, log.fetched = before, []
    done = export(log.fetch, log.verified(), out)
    assert done.written == 74
    assert len(log.fetched) == done.written + 3  # and the partial tiles of the edge, which prove the root


def test_a_copy_grows_with_its_log(make_log, out):
    log = make_log(700)
    log.files |= make_log(600).files  # a log keeps its partial tiles until the full one is there
    export(log.fetch, log.verified(600), out)
    assert "tile/0/002.p/88" in files(out)
    done = export(log.fetch, log.verified(), out, before=log.verified(600))
    assert done.present == 5
    longer = make_log(1024)
    export(longer.fetch, longer.verified(), out, before=longer.verified(700))
    assert files(out) == {"checkpoint", *(tile.path for tile in new_tiles(0, 1024))} | {"tile/1/000.p/2"}
    LogReader(read_folder(out)).check_whole_log(longer.verified(600).checkpoint)


def test_a_partial_tile_that_the_log_has_outgrown_is_cut_from_the_full_one(make_log, out):
    log = make_log(1000)
    log.files["tile/1/000.p/1"] = make_log(300).files["tile/1/000.p/1"]
    export(log.fetch, log.verified(300), out)
    assert files(out) == {"checkpoint", *(tile.path for tile in new_tiles(0, 300))}
    assert LogReader(read_folder(out)).check_whole_log(log.verified(300).checkpoint).files == 5


@pytest.mark.parametrize(
    "path", ["tile/entries/000", "tile/entries/002.p/88", "tile/0/001", "tile/0/002.p/88", "tile/1/000.p/2"]
)
@pytest.mark.parametrize("change", ["byte", "cut"])
def test_a_file_that_the_checkpoint_does_not_prove_is_not_written(make_log, out, path, change):
    log = make_log(600)
    data = log.files[path]
    log.files[path] = data[:-1] if change == "cut" else data[:-1] + bytes([data[-1] ^ 1])
    with pytest.raises(TreeMismatchError):
        export(log.fetch, log.verified(), out)
    assert "checkpoint" not in files(out)
    assert path not in files(out)


def test_a_log_that_shrank_or_forked_is_not_copied_over(make_log, out):
    log, fork = make_log(300), make_log([b"other", *(b"entry %d" % i for i in range(1, 400))])
    export(log.fetch, log.verified(), out)
    kept = files(out)
    with pytest.raises(Rollback):
        export(log.fetch, log.verified(200), out, before=log.verified())
    with pytest.raises(SplitView):
        export(fork.fetch, fork.verified(), out, before=log.verified())
    assert files(out) == kept


@pytest.mark.parametrize("path", ["tile/0/000", "tile/0/002.p/88", "tile/entries/000", "tile/1/000.p/2"])
@pytest.mark.parametrize("data", [bytes(8192), b""], ids=["other", "cut"])
def test_a_damaged_file_in_the_folder_is_fetched_again(make_log, out, path, data):
    log = make_log(600)
    export(log.fetch, log.verified(), out)
    (out / path).write_bytes(data)
    done = export(log.fetch, log.verified(), out)
    assert (done.written, done.present) == (1, len(log.files) - 1)
    assert (out / path).read_bytes() == log.files[path]


def test_what_a_broken_off_copy_of_a_fork_left_is_not_taken_for_the_logs(make_log, out):
    log, fork = make_log(600), make_log([b"other", *(b"entry %d" % i for i in range(1, 600))])
    del fork.files["tile/entries/001"]
    with pytest.raises(MissingTileError):
        export(fork.fetch, fork.verified(), out)
    export(log.fetch, log.verified(), out)
    LogReader(read_folder(out)).check_whole_log(log.checkpoint())


def test_a_folder_is_read_by_the_paths_of_a_log_alone(tmp_path):
    (tmp_path / "secret").write_text("x")
    with pytest.raises(MalformedError):
        read_folder(tmp_path)("secret")
    with pytest.raises(MissingTileError):
        read_folder(tmp_path)("tile/0/000")
