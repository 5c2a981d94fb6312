"""The one simulated monitor of the tests: its rooms put together on a real database, with a clock in hand.

The vendor is not asked: a story says what it answered, and reads what is to be delivered to whom.
"""

import json
import re
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any, Self

import sqlalchemy as sa

from monitor import config
from monitor.app import Parts, open_parts
from monitor.config import Settings
from monitor.model import (
    Attempt,
    Check,
    Delivery,
    DeliveryState,
    Failure,
    FailureKind,
    Message,
    Notification,
    Severity,
    Silence,
    Snapshot,
    Subject,
)
from monitor.notify.fallback import keep_outcome
from monitor.poll import ForecastCache, reconcile, settle
from monitor.store import deliveries as stored_deliveries
from monitor.store import silences
from monitor.store.accounts import account_rows
from monitor.store.organizations import organization_rows
from monitor.store.tables import accounts, deliveries, incidents, notifications, organizations, snapshots
from monitor.store.writer import Store, Transaction

START = datetime(2026, 11, 2, 8, 0, tzinfo=UTC)  # a Monday
NOON = datetime(2026, 11, 23, 12, 0, 0, 123456, tzinfo=UTC)
DOWN = Failure(FailureKind.UNAVAILABLE, "the vendor answered 503", 503)
REJECTED = Failure(FailureKind.CREDENTIAL_REJECTED, "the vendor rejects the key", 401)
DENIED = Failure(FailureKind.ACCESS_DENIED, "the vendor denies access", 403)
SPENT = Failure(FailureKind.NO_CREDITS, "the vendor answers: no credits", 402)
TOML = """
[rules]
credits = { warning = 1000, critical = 200 }
runway = "off"
stale_after = "30m"
[accounts.studio]
base_url = "http://127.0.0.1:9"
[organizations.farm]
account = "studio"
id = "org-1"
[channels.ops]
[channels.boss]
min_severity = "critical"
"""
# Two accounts, three organizations; no rule but the defaults.
THREE = """
[poll]
every = "1m"
[accounts.studio]
base_url = "http://127.0.0.1:9"
[accounts.other]
base_url = "http://127.0.0.1:9"
[organizations.a]
account = "studio"
id = "org-a"
[organizations.b]
account = "studio"
id = "org-b"
[organizations.c]
account = "other"
id = "org-c"
[channels.ops]
[channels.pager]
min_severity = "critical"
"""

NOTHING = Message("", "", "", "")

Heard = tuple[str, str, str, str]  # channel, rule, reason, severity


def key_of(account: str) -> str:
    """The API key of an account, in the usual form."""
    return "sk-" + f"canary{account}".replace("-", "").ljust(48, "0")


def configured(folder: Path, toml: str, database_url: str, **urls: str) -> Settings:
    """The settings of a TOML text; every account gets a key, every channel a URL (of `urls`, else a dead one)."""
    path = folder / "config.toml"
    path.write_text(f'[database]\nurl = "{database_url}"\n{toml}', encoding="utf-8")
    environ = {}
    for table, name in re.findall(r"^\[(accounts|channels)\.([\w-]+)\]", toml, re.MULTILINE):
        end = "API_KEY" if table == "accounts" else "URL"
        value = key_of(name) if table == "accounts" else urls.get(name, "json://127.0.0.1:9/dead")
        environ[f"CREDIT_MONITOR_{table}__{name.replace('-', '_')}__{end}".upper()] = value
    return config.load(path, environ)


@dataclass
class Story:
    """A monitor that runs from `begin` to `end`, any number of times, on one database."""

    folder: Path
    url: str
    now: datetime = NOON
    urls: dict[str, str] = field(default_factory=dict)
    forecasts: ForecastCache = field(default_factory=ForecastCache)  # of `settle` and `reconcile`
    _settings: Settings | None = None
    _parts: Parts | None = None
    _heard: int = 0

    @property
    def parts(self) -> Parts:
        assert self._parts is not None
        return self._parts

    @property
    def settings(self) -> Settings:
        assert self._settings is not None
        return self._settings

    @settings.setter
    def settings(self, settings: Settings) -> None:
        """For `settle` and `reconcile`; the rooms that run keep those they began with."""
        self._settings = settings

    @property
    def store(self) -> Store:
        return self.parts.store

    def begin(self, toml: str = TOML) -> Self:
        self._settings = configured(self.folder, toml, self.url, **self.urls)
        self._parts = open_parts(self._settings, Store(self.url), clock=lambda: self.now)
        return self

    async def end(self) -> None:
        if self._parts is not None:
            await self._parts.close()
            self._parts = None

    async def restart(self, toml: str = TOML) -> list[Heard]:
        """Begin anew with this configuration; return what is said of it."""
        await self.end()
        self.now += timedelta(minutes=1)
        self.begin(toml)
        return self.heard()

    async def check(self, outcome: str | Failure, name: str = "farm", *, minutes: float = 5) -> list[Heard]:
        """Check one organization, so many minutes after the one before; return what is said of it."""
        self.now += timedelta(minutes=minutes)
        self.parts.batch.add(self.result(outcome, name))
        await self.parts.batch.flush()
        return self.heard()

    def result(self, outcome: str | Failure, name: str = "farm") -> Check:
        question = sa.select(organizations.c.id, accounts.c.id.label("account_id")).where(organizations.c.name == name)
        question = question.join(accounts, accounts.c.name == organizations.c.account).order_by(organizations.c.id)
        row = self.write(lambda tx: tx.execute(question.limit(1)).one())
        answer = outcome if isinstance(outcome, Failure) else Snapshot(self.now, Decimal(outcome))
        return Check(row.account_id, row.id, self.now, answer)

    def connect(self, **fallbacks: str) -> None:
        """Let one channel stand in for another; it has no minimum severity of its own any more."""
        channels = dict(self.settings.channels)
        for name, fallback in fallbacks.items():
            channels[fallback] = replace(channels[fallback], min_severity=Severity.INFO)
            channels[name] = replace(channels[name], fallback=fallback)
        self.settings = self.settings.model_copy(update={"channels": channels})

    # --- batch by batch, without the rooms that run -------------------------------------------------------------------

    def settle(self, minutes: float = 1, *, since: datetime | None = None, **outcomes: object) -> list[Heard]:
        """Settle one batch of checks, by the organizations' names, so many minutes later; return what is said of it.

        Each is (name, rule, reason, severity).
        """
        self.now += timedelta(minutes=minutes)
        batch = [
            self.result(outcome if isinstance(outcome, Failure) else str(outcome), name)
            for name, outcome in outcomes.items()
        ]
        said = self.settle_checks(batch, since=since)
        return [(n.facts.name, n.rule.value, n.reason.value, n.severity.label) for n in said]

    def settle_checks(self, batch: list[Check], *, since: datetime | None = None) -> list[Notification]:
        return list(self.write(lambda tx: settle(tx, batch, self.settings, self.forecasts, since=since)))

    def reconcile(self) -> list[Notification]:
        return list(self.write(lambda tx: reconcile(tx, self.settings, self.forecasts, at=self.now)))

    def silence(self, name: str, **values: Any) -> int:
        """Keep an organization, or the account `studio`, quiet up to warnings."""
        subject = Subject.ACCOUNT if name in self.settings.accounts else Subject.ORGANIZATION
        key = self.accounts[name] if subject is Subject.ACCOUNT else self.ids[name]
        silence = Silence(0, subject, key, None, Severity.WARNING, self.now, None, "anna", "maintenance")
        return int(self.write(lambda tx: silences.insert_silence(tx, replace(silence, **values))))

    def claim(self, channel: str = "ops", later: timedelta = timedelta(minutes=1)) -> list[list[Delivery]]:
        """What a channel would be handed so much later, a list for each message."""
        at = self.now + later
        return list(self.write(lambda tx: stored_deliveries.claim_due(tx, channel, at, limit=20)))

    def groups(self, channel: str = "ops", later: timedelta = timedelta(minutes=1)) -> list[list[str]]:
        """The same as names and reasons."""
        return [[self.name(delivery) for delivery in group] for group in self.claim(channel, later)]

    @staticmethod
    def name(delivery: Delivery) -> str:
        return f"{delivery.said.facts.name} {delivery.said.rule.value} {delivery.said.reason.value}"

    def answer(self, delivery_id: int, error: str | None = None, **said: Any) -> DeliveryState:
        """Mark one delivery as its channel's service would have it; with what that says of the channel."""
        (row,) = self.rows(deliveries, deliveries.c.id == delivery_id)
        group = [Delivery(row["id"], row["channel"], NOTHING, row["attempts"], row["give_up_at"])]
        attempt = Attempt(delivery_id, error, **said)
        outcome = self.write(lambda tx: keep_outcome(tx, self.settings, group, attempt, at=self.now))
        return outcome.states[0]  # type: ignore[no-any-return]

    def deliver(self, channel: str = "ops") -> list[list[str]]:
        """Send everything that is due, successfully."""
        sent = []
        while groups := self.claim(channel):
            for group in groups:
                sent.append([self.name(delivery) for delivery in group])
                for delivery in group:
                    self.answer(delivery.id, None)
        return sent

    # --- what the database holds --------------------------------------------------------------------------------------

    @property
    def ids(self) -> dict[str, int]:
        """Of the organizations, by name."""
        return {row.name: row.id for row in self.write(organization_rows)}

    @property
    def accounts(self) -> dict[str, int]:
        """The accounts' ids, by name."""
        return {row.name: row.id for row in self.write(account_rows)}

    @property
    def account_of(self) -> dict[str, int]:
        """The account's id of each organization, by name."""
        return {row.name: self.accounts[row.account] for row in self.write(organization_rows)}

    def heard(self) -> list[Heard]:
        """What was put into the outbox since this was asked last."""
        question = (
            sa.select(deliveries.c.id, deliveries.c.channel, incidents.c.rule)
            .add_columns(notifications.c.reason, notifications.c.severity)
            .join(notifications, notifications.c.id == deliveries.c.notification_id)
            .join(incidents, incidents.c.id == deliveries.c.incident_id)
            .where(deliveries.c.id > self._heard)
            .order_by(deliveries.c.id)
        )
        rows = self.write(lambda tx: tx.execute(question).all())
        self._heard = max((row.id for row in rows), default=self._heard)
        return [tuple(row)[1:] for row in rows]

    def facts(self) -> dict[str, Any]:
        """The figures of the last notification."""
        question = sa.select(deliveries.c.id, notifications.c.facts).join(
            notifications, notifications.c.id == deliveries.c.notification_id
        )
        last = self.write(lambda tx: tx.execute(question.order_by(deliveries.c.id.desc())).first())
        assert last is not None
        return dict(json.loads(last.facts))

    def mark(self, channel: str, error: str | None = None, *, times: int = 1) -> None:
        """Answer for a channel, as its service would: all that is pending, so many times."""
        pending = (deliveries.c.channel == channel) & (deliveries.c.state == "pending")
        ids = [row["id"] for row in self.rows(deliveries, pending)]
        for _ in range(times):
            for id_ in ids:
                self.write(lambda tx, id_=id_: stored_deliveries.record_attempt(tx, Attempt(id_, error), at=self.now))  # type: ignore[misc]

    def give_up(self, channel: str) -> None:
        """A channel that was dead for longer than anybody tries."""
        then, self.now = self.now, self.now + timedelta(days=2)
        self.mark(channel, "nobody answers", times=24)
        self.now = then

    def notifications(self) -> list[dict[str, Any]]:
        """Every notification, in the order of acceptance."""
        first = sa.select(deliveries.c.notification_id, sa.func.min(deliveries.c.id).label("first"))
        order = first.group_by(deliveries.c.notification_id).subquery()
        question = sa.select(notifications).join(order, order.c.notification_id == notifications.c.id)
        return self.write(lambda tx: [dict(row) for row in tx.execute(question.order_by(order.c.first)).mappings()])  # type: ignore[no-any-return]

    def rows(self, table: sa.Table, where: Any = None) -> list[dict[str, Any]]:
        order = [table.c.organization_id, table.c.taken_at] if table is snapshots else [table.c.id]
        question = sa.select(table).where(sa.true() if where is None else where).order_by(*order)
        return self.write(lambda tx: [dict(row) for row in tx.execute(question).mappings()])

    def open(self) -> list[tuple[str, str]]:
        """Rule and severity of every open incident."""
        return [(row["rule"], row["severity"]) for row in self.rows(incidents, incidents.c.resolved_at.is_(None))]

    def write(self, work: Any) -> Any:
        return self.parts.store.write_now(work)


def due(tx: Transaction, channel: str, now: datetime, *, limit: int = 20) -> list[Delivery]:
    """What a channel's service is handed now, whatever goes out together."""
    return [delivery for group in stored_deliveries.claim_due(tx, channel, now, limit=limit) for delivery in group]


def of_credits(*channels: str, reason: str, severity: str) -> list[Heard]:
    """One notification of the rule `credits` for each of these channels."""
    return [(channel, "credits", reason, severity) for channel in channels]
