"""The engine in its sandbox: DuckDB in memory, spilling encrypted into one folder, reading nothing else.

Statistics are expressions of the measured code, not of users; the sandbox is the second wall, for the case that a
table's content finds a way into a query. Tried in tests: other files, network, ATTACH, INSTALL, COPY, SET.
"""

import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import duckdb
import duckdb_extension_httpfs
import ibis
import pyarrow as pa

_BATCH_ROWS = 500_000


class Engine:
    """One locked connection. Tables come in through :meth:`load` only."""

    def __init__(self, scratch: Path, *, memory_bytes: int, threads: int | None = None) -> None:
        config = {
            "memory_limit": f"{memory_bytes // 1_000_000}MB",
            "temp_directory": str(scratch),
            "threads": threads or os.cpu_count() or 1,
            "python_enable_replacements": "false",
            "autoinstall_known_extensions": "false",
            "autoload_known_extensions": "false",
        }
        self.connection = duckdb.connect(":memory:", config=config)
        # OpenSSL from the extension makes the encryption of spills cheap; it comes from the measured lock's wheel
        self.connection.load_extension(_extension())
        self.connection.execute("SET temp_file_encryption = true")
        self.connection.execute(f"SET allowed_directories = ['{str(scratch).replace(chr(39), chr(39) * 2)}']")
        self.connection.execute("SET enable_external_access = false")
        self.ibis: Any = ibis.duckdb.from_connection(self.connection)
        self.connection.execute("SET lock_configuration = true")

    def load(self, name: str, schema: pa.Schema, batches: Iterable[pa.RecordBatch]) -> Any:
        """A table from validated batches, read once; the Ibis table over it."""
        failures: list[Exception] = []

        def watched() -> Iterator[pa.RecordBatch]:
            try:
                yield from batches
            except Exception as error:
                failures.append(error)
                raise

        self.connection.register("incoming", pa.RecordBatchReader.from_batches(schema, watched()))
        try:
            self.connection.execute(f'CREATE TEMP TABLE "{name}" AS SELECT * FROM incoming')  # noqa: S608 - a name of the code
        except duckdb.Error:
            if failures:  # the engine hands on a reader's words but not its error
                raise failures[0] from None
            raise
        finally:
            self.connection.unregister("incoming")
        return self.ibis.table(name)

    def sorted(
        self, name: str, schema: pa.Schema, batches: Iterable[pa.RecordBatch], order: Sequence[str]
    ) -> Iterator[pa.RecordBatch]:
        """The same rows sorted by the columns of ``order``; what does not fit into memory is spilt, encrypted."""
        by = ", ".join(f'"{column}"' for column in order)
        self.load(name, schema, batches)
        reader = self.connection.execute(f'SELECT * FROM "{name}" ORDER BY {by}').to_arrow_reader(_BATCH_ROWS)  # noqa: S608
        for batch in reader:
            yield pa.RecordBatch.from_arrays(batch.columns, schema=schema)
        self.drop(name)

    def drop(self, *names: str) -> None:
        """Forget tables."""
        for name in names:
            self.connection.execute(f'DROP TABLE "{name}"')

    def close(self) -> None:
        """Forget everything."""
        self.connection.close()


@contextmanager
def engine(folder: Path | None, *, memory_bytes: int) -> Iterator[Engine]:
    """An engine with a scratch folder of its own, which is wiped afterwards."""
    scratch = Path(tempfile.mkdtemp(prefix="sealstat-scratch-", dir=folder))
    opened = Engine(scratch, memory_bytes=memory_bytes)
    try:
        yield opened
    finally:
        opened.close()
        shutil.rmtree(scratch, ignore_errors=True)


def _extension() -> str:
    folder = Path(duckdb_extension_httpfs.__file__).parent / "extensions"
    (found,) = folder.rglob("httpfs.duckdb_extension")
    return str(found)
