"""The database: one writer, savepoints, and nothing answered before it is committed."""

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import Connection, insert, select

from sealstat.host import store as tables
from sealstat.host.errors import HostError
from sealstat.host.store import Store, add_usage, sqlite_url, used


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    opened = Store(sqlite_url(tmp_path), identity="ab" * 32)
    yield opened
    opened.close()


def write(key: str) -> object:
    def work(connection: Connection) -> str:
        connection.execute(insert(tables.meta).values(key=key, value="x"))
        return key

    return work


def keys(store: Store) -> set[str]:
    with store.reading() as connection:
        return set(connection.execute(select(tables.meta.c.key)).scalars()) - {"schema", "host"}


def test_what_is_answered_is_committed(store: Store) -> None:
    assert store.submit(write("one")).result() == "one"
    assert keys(store) == {"one"}


def test_work_that_fails_is_undone_alone(store: Store) -> None:
    def fail(connection: Connection) -> None:
        write("never")(connection)
        raise ValueError("no")

    futures = [store.submit(write("one")), store.submit(fail), store.submit(write("two"))]
    assert futures[0].result() == "one"
    with pytest.raises(ValueError, match="no"):
        futures[1].result()
    assert futures[2].result() == "two"
    assert keys(store) == {"one", "two"}


def test_what_comes_after_runs_once_behind_the_commit_and_its_failure_is_answered(store: Store) -> None:
    seen: list[set[str]] = []
    gate = threading.Event()

    def after() -> None:
        seen.append(keys(store))
        if len(seen) > 1:
            raise OSError("the log failed")

    store.submit(lambda _: gate.wait())
    together = [store.submit(write(f"{n}"), after=after) for n in range(3)]
    gate.set()
    assert [future.result() for future in together] == ["0", "1", "2"]
    assert seen == [{"0", "1", "2"}]
    with pytest.raises(OSError, match="the log failed"):
        store.submit(write("3"), after=after).result()
    assert "3" in keys(store)


def test_a_database_of_another_host_or_version_is_refused(tmp_path: Path) -> None:
    store = Store(sqlite_url(tmp_path), identity="ab" * 32)
    with pytest.raises(HostError, match="another host"):
        Store(sqlite_url(tmp_path), identity="cd" * 32)
    store.submit(
        lambda connection: connection.execute(
            tables.update(tables.meta).where(tables.meta.c.key == "schema").values(value="0")
        )
    ).result()
    store.close()
    with pytest.raises(HostError, match="another version"):
        Store(sqlite_url(tmp_path), identity="ab" * 32)


def test_every_commit_is_synchronous(store: Store) -> None:
    def pragmas(connection: Connection) -> tuple[object, object]:
        return tuple(
            connection.exec_driver_sql(f"PRAGMA {name}").scalar_one() for name in ("journal_mode", "synchronous")
        )

    assert store.submit(pragmas).result() == ("wal", 2)


def test_usage_adds_up_by_agreement_and_card(store: Store) -> None:
    for amount in (3, 4, -1):
        store.submit(lambda connection, amount=amount: add_usage(connection, "a", "f", blob_bytes=amount)).result()
    store.submit(lambda connection: add_usage(connection, "a", "f", statement_bytes=9)).result()
    with store.reading() as connection:
        assert used(connection, "a", "f") == (9, 6)
        assert used(connection, "b", "f") == (0, 0)
