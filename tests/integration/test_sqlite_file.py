"""A SQLite file that was moved away or replaced while it is used: nothing is written where nobody will find it."""

import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
import sqlalchemy as sa

from monitor.errors import DatabaseError
from monitor.store.engines import open_reader, transaction
from monitor.store.tables import accounts
from monitor.store.writer import Store


@pytest.fixture
def path(sqlite_url) -> Path:
    return Path(str(sa.make_url(sqlite_url).database))


@pytest.fixture
def opened(sqlite_url):
    store = Store(sqlite_url)
    count(store)
    yield store
    store.close()


AN_ACCOUNT = "INSERT INTO accounts (name, base_url, generation) VALUES ('studio', 'https://example.org', 'v1')"


def count(store: Store) -> int:
    return store.write_now(lambda tx: tx.execute(sa.text("SELECT count(*) FROM accounts")).scalar_one())


def add(store: Store) -> None:
    values = {"name": "studio", "base_url": "https://example.org", "generation": "v1"}
    store.write_now(lambda tx: tx.execute(accounts.insert().values(values)))


def backup(path: Path) -> Path:
    copy = path.with_name("backup.db")
    with closing(sqlite3.connect(path)) as source, closing(sqlite3.connect(copy)) as target:
        source.backup(target)
    return copy


def test_a_file_that_was_moved_away_takes_nothing_until_it_is_back(opened, path):
    aside = path.rename(path.with_name("aside.db"))
    with pytest.raises(DatabaseError, match="removed while it was in use: put it back, or restart"):
        add(opened)
    assert opened.trouble
    assert not opened.file.is_replaced
    aside.rename(path)
    add(opened)
    assert count(opened) == 1
    assert opened.trouble is None


def test_a_file_that_was_replaced_is_written_only_once_that_was_accepted(opened, path):
    copy = backup(path)
    add(opened)
    copy.replace(path)
    for _ in range(2):
        with pytest.raises(DatabaseError, match="replaced while it was in use"):
            add(opened)
    assert opened.file.is_replaced
    opened.file.accept()
    assert count(opened) == 0
    add(opened)
    with closing(sqlite3.connect(path)) as there:
        assert there.execute("SELECT count(*) FROM accounts").fetchone() == (1,)


def test_a_reader_reads_what_is_there(opened, path, sqlite_url):
    reader = open_reader(sqlite_url)
    question = sa.text("SELECT count(*) FROM accounts")
    with transaction(reader) as tx:
        assert tx.execute(question).scalar_one() == 0
    other = shutil.copy(path, path.with_name("other.db"))
    with closing(sqlite3.connect(other)) as there:
        there.execute(AN_ACCOUNT)
        there.commit()
    Path(other).replace(path)
    with transaction(reader) as tx:
        assert tx.execute(question).scalar_one() == 1
    reader.dispose()


def test_another_database_has_no_file_to_lose(postgres_url):
    store = Store(postgres_url)
    store.file.require_same()
    assert not store.file.is_replaced
    store.close()
