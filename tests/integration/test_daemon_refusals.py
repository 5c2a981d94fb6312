"""The real process on a database that takes some things and refuses others: what it records, says and sends."""

import socket
import urllib.error
import urllib.request
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from wait import until

from monitor.sandbox import Received, Receiver, SandboxOrganization, Vendor
from monitor.store.engines import open_writer, transaction
from monitor.store.tables import organizations, snapshots
from tests.proofs.faults.refusals import refusing
from tests.support import daemon

KEY = "sk-" + "canaryrefusals".ljust(48, "0")


class Plant:
    """A daemon with a vendor and a receiver."""

    def __init__(self, folder: Path, url: str, vendor: Vendor, received: list[Received]) -> None:
        self.url, self.vendor, self.received = url, vendor, received
        self.log = folder / "log"
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]

    def rows(self, *columns: Any) -> list[tuple[Any, ...]]:
        engine = open_writer(self.url)
        with transaction(engine) as connection:
            rows = [tuple(row) for row in connection.execute(sa.select(*columns))]
        engine.dispose()
        return rows

    def run(self, *statements: str) -> None:
        engine = open_writer(self.url)
        with transaction(engine) as connection:
            for statement in statements:
                connection.exec_driver_sql(statement)
        engine.dispose()

    def ready(self) -> str:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/readyz", timeout=10) as answer:
                return str(answer.read().decode())
        except urllib.error.HTTPError as error:
            return error.read().decode()
        except OSError:
            return ""

    def titles(self) -> list[str]:
        return [message.title for message in self.received]


@asynccontextmanager
async def planted(folder: Path, url: str) -> AsyncIterator[Plant]:
    received: list[Received] = []
    balances = {"org-1": Decimal(5000), "org-2": Decimal(5)}
    listed = [SandboxOrganization(key, "Müller Kyōto", balance) for key, balance in balances.items()]
    async with Vendor({KEY: list(balances)}, listed) as vendor, Receiver(received.append) as receiver:
        plant = Plant(folder, url, vendor, received)
        (folder / "config.toml").write_text(
            f'[database]\nurl = "{url}"\n[poll]\nevery = "1s"\ndeadline = "5s"\n[web]\nlisten = {plant.port}\n'
            f'[accounts.studio]\nbase_url = "{vendor.url}"\norganizations = "all"\nrate_limit = "off"\n[channels.ops]\n'
            '[rules]\nrunway = "off"\ncredits = { warning = 1000, critical = 200 }\n'
        )
        environ = daemon.environment({"studio": KEY}, {"ops": receiver.url()})
        process = await daemon.launch(folder, environ, log=plant.log)
        try:
            yield plant
        finally:
            code = await daemon.stop(process)
        assert code == 0
        assert "Traceback" not in plant.log.read_text()


async def test_balances_that_are_refused_are_said_and_recorded_when_they_are_taken(tmp_path, database_url):
    async with planted(tmp_path, database_url) as plant:
        await until(lambda: plant.ready() == "ok\n")
        begin, end = refusing(database_url, "snapshots")
        plant.run(*begin)
        await until(lambda: "results cannot be written" in plant.ready())
        assert "permission denied for table snapshots" in plant.log.read_text()
        plant.run(*end)
        before = len(plant.rows(snapshots.c.taken_at))
        await until(lambda: len(plant.rows(snapshots.c.taken_at)) > before)


async def test_an_outcome_that_is_refused_is_said_and_the_next_alert_is_sent_all_the_same(tmp_path, database_url):
    async with planted(tmp_path, database_url) as plant:
        await until(lambda: plant.ready() == "ok\n")
        await until(lambda: len(plant.titles()) == 1)
        begin, end = refusing(database_url, "attempts")
        plant.run(*begin)
        for number, balance in ((2, 900), (3, 100)):
            plant.vendor.organizations["org-1"].credits = Decimal(balance)
            await until(lambda number=number: len(plant.titles()) == number)
        await until(lambda: plant.ready().startswith("database: what became of "))
        said = [line for line in plant.log.read_text().splitlines() if "that cannot be written" in line]
        assert len(said) == 1
        plant.run(*end)
        await until(lambda: plant.ready() == "ok\n")
        assert len(plant.titles()) == 3


@pytest.mark.parametrize("encoding", ["LATIN1", "SQL_ASCII"])
async def test_a_database_of_another_encoding_loses_no_balance_to_a_title(tmp_path, postgres, encoding):
    url = postgres.new_encoded(encoding)
    async with planted(tmp_path, url) as plant:
        await until(lambda: plant.ready() == "ok\n")
        await until(plant.titles)
        titles = dict(plant.rows(organizations.c.vendor_id, organizations.c.title))
        assert titles["org-1"] == ("Müller Ky\\u014dto" if encoding == "LATIN1" else "M\\u00fcller Ky\\u014dto")
        assert "CRITICAL" in plant.titles()[0]
        assert f"its encoding is {encoding}" in plant.log.read_text()


async def test_what_a_role_sets_loses_no_result(tmp_path, postgres, postgres_url):
    name = sa.make_url(postgres_url).database
    postgres.execute(f"ALTER DATABASE {name} SET datestyle = 'SQL, DMY'")
    postgres.execute(f"ALTER DATABASE {name} SET client_encoding = 'LATIN1'")
    async with planted(tmp_path, postgres_url) as plant:
        await until(plant.titles)
        await until(lambda: len(plant.rows(snapshots.c.taken_at)) >= 4)
        assert plant.ready() == "ok\n"


async def test_a_database_that_becomes_read_only_is_told_and_written_when_it_may_be(tmp_path, postgres, postgres_url):
    name = sa.make_url(postgres_url).database
    cut = f"SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE datname = '{name}'"
    async with planted(tmp_path, postgres_url) as plant:
        await until(lambda: plant.ready() == "ok\n")
        postgres.execute(f"ALTER DATABASE {name} SET default_transaction_read_only = on")
        postgres.execute(cut)
        await until(lambda: "database: nothing can be written" in plant.ready())
        assert "default_transaction_read_only" in plant.log.read_text()
        postgres.execute(f"ALTER DATABASE {name} RESET default_transaction_read_only")
        postgres.execute(cut)
        await until(lambda: plant.ready() == "ok\n")
