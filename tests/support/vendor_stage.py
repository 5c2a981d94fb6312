"""The real daemon with an account at every vendor of the catalogue, each described, and one receiver."""

import sqlite3
from asyncio.subprocess import Process
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path

from monitor.config.vendors import built_in_text
from monitor.sandbox import Received, Receiver
from tests.support import daemon
from tests.support.vendors import CATALOGUE, Vendors, key_of, organization_of, variables_of
from tests.support.wait import until

MICRO = Decimal(10) ** -6
Row = tuple[Decimal | None, str, str | None, str]  # balance, unit, kind and words of the last failure


def account_of(name: str) -> str:
    return f"at-{name}"


def vendor_of(organization: str) -> str:
    """The vendor that an organization of the stage is at."""
    own = {organization_of(made): name for name, made in CATALOGUE.items()}
    return own.get(organization) or organization.partition("/")[0].removeprefix("at-")


def expected() -> dict[str, tuple[Decimal, str]]:
    """Organization → balance and unit, as the samples have them."""
    found = {}
    for name, made in CATALOGUE.items():
        for id_, amount, unit in made.samples[0].expect:
            vendor_id = organization_of(made) if made.organizations else id_
            organization = vendor_id if made.organizations else "/".join(filter(None, [account_of(name), id_]))
            found[organization] = (amount or Decimal(0), unit)
    return found


@dataclass
class Stage:
    """What runs, and where to look."""

    folder: Path
    vendors: Vendors
    received: list[Received] = field(default_factory=list)
    process: Process | None = None

    @property
    def log(self) -> str:
        return (self.folder / "log").read_text(errors="replace")

    def rows(self) -> Mapping[str, Row]:
        """Every organization's row, by its name."""
        with closing(sqlite3.connect(f"file:{self.folder}/db?mode=ro", uri=True)) as database:
            found = database.execute(
                "SELECT name, credits, unit, failure, failure_message FROM organizations"
            ).fetchall()
        return {
            name: (None if amount is None else amount * MICRO, unit, kind, words or "")
            for name, amount, unit, kind, words in found
        }

    def failures(self) -> dict[str, str | None]:
        return {name: kind for name, (_, _, kind, _) in self.rows().items()}

    def everything(self) -> str:
        """All that a person could see: the log, the database, the messages."""
        told = "".join(message.title + message.message for message in self.received)
        stored = b"".join(path.read_bytes() for path in self.folder.glob("db*"))
        return self.log + told + stored.decode("latin-1")

    def configuration(self, receiver: Receiver) -> str:
        head = f'[database]\nurl = "sqlite:///{self.folder}/db"\n[poll]\nevery = "2s"\ndeadline = "1s"\n'
        head += f'[rules]\nrunway = "off"\nremind_every = "off"\n[channels.hook]\nurl = "{receiver.url()}"\n'
        return head + "\n".join(self._tables())

    def _tables(self) -> list[str]:
        tables = [built_in_text(name) for name in CATALOGUE]  # the program's own copies play no part
        for name, made in CATALOGUE.items():
            pairs = ", ".join(f'{key} = "{value}"' for key, value in variables_of(made).items())
            levels = {unit: "{ warning = 1000000000 }" for _, _, unit in made.samples[0].expect}
            by_unit = ", ".join(f"{unit} = {level}" for unit, level in levels.items())
            tables.append(
                f'[accounts.{account_of(name)}]\nprovider = "{name}"\nbase_url = "{self.vendors.url(name)}"\n'
                f'rate_limit = "off"\nvars = {{ {pairs} }}\nrules.credits = {{ {by_unit} }}\n'
            )
        return tables


@asynccontextmanager
async def running(folder: Path) -> AsyncIterator[Stage]:
    """The stage, with its daemon begun."""
    async with Vendors(own_organizations=True) as vendors:
        stage = Stage(folder, vendors)
        async with Receiver(stage.received.append) as receiver:
            (folder / "config.toml").write_text(stage.configuration(receiver))
            keys = {account_of(name): key_of(name) for name in CATALOGUE}
            environ = daemon.environment(keys, {})
            stage.process = await daemon.launch(folder, environ, log=folder / "log")
            try:
                yield stage
            finally:
                await daemon.kill(stage.process)


async def settled(stage: Stage) -> None:
    """Wait until every organization of every vendor has its balance, exactly, in its unit."""
    wanted = expected()

    def is_there() -> bool:
        try:
            rows = stage.rows()
        except sqlite3.OperationalError:
            return False
        return {name: (amount, unit) for name, (amount, unit, kind, _) in rows.items() if kind is None} == wanted

    await until(is_there, why=lambda: f"{_differing(stage.rows(), wanted)}\n{stage.log[-3000:]}\n{stage.vendors.wrong}")


def _differing(rows: Mapping[str, Row], wanted: Mapping[str, tuple[Decimal, str]]) -> list[object]:
    return [
        (name, rows.get(name), wanted.get(name))
        for name in rows.keys() | wanted
        if rows.get(name, ())[:2] != wanted.get(name)
    ]
