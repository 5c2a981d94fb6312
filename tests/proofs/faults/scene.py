"""A scene: commands, daemons and reloads on one database; what must be said is known, and weighed at the end."""

import shutil
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from decimal import Decimal
from pathlib import Path

import sqlalchemy as sa

from monitor.errors import DatabaseError
from monitor.model import Reason, Severity
from monitor.store.engines import open_writer, transaction
from tests.proofs.crash.evidence import Arrival, Records, ids_in
from tests.proofs.crash.script import Demand
from tests.proofs.crash.verdict import Counts, doubles, held_by, weigh_words
from tests.proofs.faults.fault import BOTH, Cannot
from tests.proofs.faults.measure import Logged, logged_since
from tests.support.premises import Site, site_of
from tests.support.server import Server, running_server, upgraded


@dataclass
class Plot:
    """A site, and what is demanded of it: in the order in which it is to be said."""

    site: Site
    server: Server | None  # PostgreSQL's, where that is the database
    demands: dict[str, list[Demand]] = field(default_factory=dict)  # by organization, or `account`
    renamed: dict[str, str] = field(default_factory=dict)  # the channels that receivers serve under another name
    deleted: set[str] = field(default_factory=set)  # notifications whose delivery somebody deleted
    names_change: bool = False  # an organization is told under another name than it has at last
    knows_all: bool = True  # False: how much is said depends on the machine, and is only weighed against the database

    @property
    def is_sqlite(self) -> bool:
        return self.site.url.startswith("sqlite")

    @property
    def file(self) -> Path:
        return Path(str(sa.make_url(self.site.url).database))

    def demand(self, name: str, reason: Reason, severity: Severity, amount: Decimal | int, *channels: str) -> None:
        one = Demand(name, reason, severity, Decimal(amount), frozenset(channels))
        self.demands.setdefault(name, []).append(one)

    async def told(
        self, name: str, reason: Reason, severity: Severity, amount: Decimal | int, *channels: str, marked: bool = True
    ) -> None:
        """Demand a notification, and wait until all that is demanded has arrived."""
        self.demand(name, reason, severity, amount, *channels)
        await self.all_told(marked=marked)

    async def all_told(self, *, marked: bool = True) -> None:
        """Wait until all that is demanded has arrived, and is marked so."""
        await self.site.until(self._is_told)
        if marked:
            await self.site.until(self.nothing_waits)

    def nothing_waits(self) -> bool:
        records = Records(self.site.url)
        try:
            return not records.standing()[1]
        except DatabaseError:
            return False
        finally:
            records.close()

    def _is_told(self) -> bool:
        wanted = [channel for demands in self.demands.values() for one in demands for channel in one.channels]
        arrived = [(one.channel, key) for one in self.arrivals() for key in one.ids]
        return all(
            len({key for name, key in arrived if name == channel}) >= wanted.count(channel) for channel in wanted
        )

    def arrivals(self) -> list[Arrival]:
        found = []
        for receiver, messages in self.site.received.items():
            channel = self.renamed.get(receiver, receiver)
            for at, message in enumerate(messages):
                words = f"{message.title}\n{message.message}"
                ids = tuple(key for key in ids_in(words) if key not in self.deleted)
                found.append(Arrival(at, 0, channel, ids, words, answered=True))
        return [arrival for arrival in found if arrival.ids]

    def run(self, *statements: str, url: str | None = None) -> None:
        """Change the database (or another one) by hand."""
        engine = open_writer(url or self.site.url)
        with transaction(engine) as connection:
            for statement in statements:
                connection.exec_driver_sql(statement)
        engine.dispose()

    def weigh(self) -> tuple[Counts, list[str]]:
        """What was said and what is wrong with it."""
        counts, records = Counts(), Records(self.site.url)
        try:
            if not self.knows_all:
                self._take_from(records)
            weigh_words(counts, self.demands, records, self.arrivals())
        finally:
            records.close()
        if self.names_change:
            counts.wrong_words = 0
        counts.doubles_unexplained = len(list(doubles(self.arrivals())))
        counts.tracebacks = logged(self.site.folder).tracebacks
        wrong = [f"{name.replace('_', ' ')}: {count}" for name, count in counts.faults().items()]
        return counts, wrong + (counts.notes[:5] if wrong else [])

    def _take_from(self, records: Records) -> None:
        self.demands.clear()
        sent = records.deliveries()
        for key, said in held_by(records.notifications()).items():
            channels = frozenset(row.channel for row in sent if row.notification_id == key)
            self.demands.setdefault(said.organization, []).append(replace(said, channels=channels))


def logged(folder: Path) -> Logged:
    """What every daemon of a scene logged."""
    return logged_since(folder, {}, "log*")


@dataclass(frozen=True)
class Scene:
    """What happens, by name."""

    name: str
    play: Callable[[Plot], Awaitable[None]]
    cause: str = ""  # a regular expression that a line of the log must match; empty: nothing needs to be said
    organizations: int = 1
    channels: tuple[str, ...] = ("ops",)
    databases: tuple[str, ...] = BOTH
    quick: bool = False  # part of the short form


@dataclass
class Seen:
    """How a scene ended."""

    told: int = 0
    logged: Logged | None = None
    problems: list[str] = field(default_factory=list)
    cannot: str = ""


@asynccontextmanager
async def plotted(scene: Scene, server: Server | None) -> AsyncIterator[Plot]:
    """A site on a new database, with nothing demanded yet."""
    folder = Path(tempfile.mkdtemp(prefix="scene-"))
    (folder / "state").mkdir(mode=0o700)
    url = upgraded(f"sqlite:///{folder / 'state' / 'monitor.db'}" if server is None else server.new())
    try:
        async with site_of(folder, url, organizations=scene.organizations, channels=scene.channels) as site:
            yield Plot(site, server)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


async def play(scenes: Iterable[Scene], kind: str) -> AsyncIterator[tuple[Scene, Seen]]:
    """Each scene in turn, on a database of its own; PostgreSQL is one server for all of them."""
    chosen = [scene for scene in scenes if kind in scene.databases]
    if not chosen:
        return
    if kind == "sqlite":
        for scene in chosen:
            yield scene, await _play(scene, None)
        return
    with running_server() as server:
        for scene in chosen:
            yield scene, await _play(scene, server)


async def _play(scene: Scene, server: Server | None) -> Seen:
    seen = Seen()
    try:
        async with plotted(scene, server) as plot:
            await scene.play(plot)
            counts, seen.problems = plot.weigh()
            seen.told, seen.logged = counts.notifications, logged(plot.site.folder)
    except Cannot as why:
        seen.cannot = str(why)
    except Exception as error:  # noqa: BLE001 -- what did not happen is a problem, and not the end of the others
        seen.problems = [f"{type(error).__name__}: {str(error)[-1500:]}"]
    if seen.logged and scene.cause and not seen.logged.names(scene.cause):
        seen.problems.append("no line of the log names the cause")
    return seen
