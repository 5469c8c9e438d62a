"""The second wall, tried: what a query could ask for if a table's content ever found a way into one."""

import http.server
import secrets
import threading
from pathlib import Path

import duckdb
import pyarrow as pa
import pytest

from sealstat.enclave.engine import engine

MEMORY_BYTES = 1_000_000_000
SCHEMA = pa.schema([("id", pa.binary()), ("n", pa.int64())])


def refused(statement: str, tmp_path: Path) -> None:
    with engine(tmp_path, memory_bytes=MEMORY_BYTES) as sandbox, pytest.raises(duckdb.Error):
        sandbox.connection.execute(statement).fetchall()


@pytest.mark.parametrize(
    "statement",
    [
        "SELECT * FROM read_csv('{file}')",
        "SELECT * FROM read_text('{file}')",
        "SELECT * FROM read_blob('{file}')",
        "SELECT * FROM '{file}'",
        "SELECT * FROM glob('{folder}/*')",
        "ATTACH '{folder}/other.db'",
        "COPY (SELECT 1) TO '{folder}/out.csv'",
        "EXPORT DATABASE '{folder}/out'",
        "INSTALL httpfs",
        "INSTALL spatial FROM community",
        "LOAD '{folder}/some.duckdb_extension'",
        "SET enable_external_access = true",
        "SET allowed_directories = ['/']",
        "SET temp_file_encryption = false",
        "SET temp_directory = '{folder}'",
        "SET lock_configuration = false",
        "RESET lock_configuration",
        "PRAGMA memory_limit = '100GB'",
        "CREATE SECRET (TYPE s3, KEY_ID 'x', SECRET 'y')",
    ],
)
def test_the_sandbox_refuses(statement: str, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "file.csv").write_text("a\n1\n")
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    refused(statement.format(file=outside / "file.csv", folder=outside), scratch)
    assert [path.name for path in outside.iterdir()] == ["file.csv"]


def test_the_sandbox_calls_nobody(tmp_path: Path) -> None:
    called: list[str] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            called.append(self.path)
            self.send_error(404)

        do_HEAD = do_GET  # noqa: N815 - the library's name

    with http.server.HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            refused(f"SELECT * FROM read_csv('http://127.0.0.1:{server.server_port}/x.csv')", tmp_path)
        finally:
            server.shutdown()
            thread.join()
    assert called == []


def test_no_python_value_is_taken_for_a_table(tmp_path: Path) -> None:
    hidden = pa.table({"a": [1]})
    refused("SELECT * FROM hidden", tmp_path)
    assert hidden.num_rows == 1


def test_spills_are_encrypted_and_wiped(tmp_path: Path) -> None:
    canary = secrets.token_bytes(16)
    rows = 40_000

    def batches():  # type: ignore[no-untyped-def]
        for start in range(0, 1_600_000, rows):
            # the canary in every row, uncompressible around it
            ids = [canary + secrets.token_bytes(16) for _ in range(rows)]
            yield pa.record_batch([pa.array(ids, pa.binary()), pa.array(range(start, start + rows))], SCHEMA)

    with engine(tmp_path, memory_bytes=60_000_000) as sandbox:
        sandbox.load("input", SCHEMA, batches())
        spilled = [path for path in tmp_path.rglob("*") if path.is_file()]
        assert sum(path.stat().st_size for path in spilled) > 1_000_000  # else this test shows nothing
        for path in spilled:
            assert canary not in path.read_bytes()
        counted = sandbox.connection.execute("SELECT count(*), sum(n) FROM input").fetchone()
    assert counted == (1_600_000, sum(range(1_600_000)))
    assert list(tmp_path.iterdir()) == []


def test_scratch_is_wiped_also_after_an_error(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError), engine(tmp_path, memory_bytes=MEMORY_BYTES):
        raise RuntimeError("stop")
    assert list(tmp_path.iterdir()) == []


def test_an_error_of_the_reader_comes_out_as_itself(tmp_path: Path) -> None:
    class Wrong(Exception):  # noqa: N818
        pass

    def batches():  # type: ignore[no-untyped-def]
        yield pa.record_batch([pa.array([b"x"], pa.binary()), pa.array([1])], SCHEMA)
        raise Wrong

    with engine(tmp_path, memory_bytes=MEMORY_BYTES) as sandbox, pytest.raises(Wrong):
        sandbox.load("input", SCHEMA, batches())
