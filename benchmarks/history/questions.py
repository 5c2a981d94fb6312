"""What people ask, each beside the plain way: the same in SQL over a table with text instants and an index."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from functools import partial
from typing import Any
from zoneinfo import ZoneInfo

import sqlalchemy as sa

from benchmarks.history.year import BEGIN, END
from benchmarks.measure import Measured, measure, more, table
from monitor import query
from monitor.query import By
from monitor.store.engines import open_reader, transaction

DAY = timedelta(days=1)
ONE = 500  # the organization that is asked about
BERLIN = ZoneInfo("Europe/Berlin")
UTC = ZoneInfo("UTC")

LATEST = """SELECT organization_id, taken_at, credits FROM (SELECT *, row_number() OVER
    (PARTITION BY organization_id ORDER BY taken_at DESC) AS n FROM balances) AS t WHERE n = 1"""
RANGE = """SELECT taken_at, credits FROM balances WHERE organization_id = {one}
    AND taken_at >= '{since}' AND taken_at < '{until}' ORDER BY taken_at"""
BY_DAY = """SELECT day, credits, lowest, highest, snapshots FROM (SELECT substr(taken_at, 1, 10) AS day, credits,
    row_number() OVER (PARTITION BY substr(taken_at, 1, 10) ORDER BY taken_at DESC) AS n,
    min(credits) OVER (PARTITION BY substr(taken_at, 1, 10)) AS lowest,
    max(credits) OVER (PARTITION BY substr(taken_at, 1, 10)) AS highest,
    count(*) OVER (PARTITION BY substr(taken_at, 1, 10)) AS snapshots
    FROM balances WHERE organization_id = {one}) AS t WHERE n = 1 ORDER BY day"""
USE = """SELECT organization_id, {bucket}, sum(CASE WHEN change < 0 THEN -change END),
    sum(CASE WHEN change > 0 THEN change END) FROM (SELECT organization_id, taken_at, credits - lag(credits) OVER
    (PARTITION BY organization_id ORDER BY taken_at) AS change FROM balances {where}) AS t GROUP BY 1, 2"""
LOCAL_MONTH = "to_char(taken_at::timestamptz AT TIME ZONE 'Europe/Berlin', 'YYYY-MM')"


@dataclass(frozen=True)
class Asked:
    """A question, our way and the plain way (None: it has none), and what was aimed at."""

    text: str
    ours: Callable[[sa.Engine], int]  # how many rows
    plain: str | None = None
    aim: float | None = None  # milliseconds


def questions(newest: datetime, kind: str) -> Iterator[Asked]:
    vendor_id = f"org-{ONE:04}"

    def range_of(days: int) -> dict[str, Any]:
        since, until = newest - days * DAY, newest
        plain = RANGE.format(one=ONE, since=since.isoformat(), until=until.isoformat())
        return {
            "ours": lambda engine: _rows(query.history(engine, vendor_id, since=since, until=until)),
            "plain": plain,
        }

    def used(by: By, zone: ZoneInfo, organization: str | None = None) -> Callable[[sa.Engine], int]:
        asked = query.UsageQuestion(by=by, zone=zone, price=lambda _: Decimal("0.01"), now=END, since=BEGIN, until=END)

        def ask(engine: sa.Engine) -> int:
            with query.usage(engine, asked, organization) as answer:
                return _rows(answer.rows)

        return ask

    month, where = "substr(taken_at, 1, 7)", f"WHERE organization_id = {ONE}"
    local = USE.format(bucket=LOCAL_MONTH, where="") if kind == "postgresql" else None
    yield Asked("latest of all organizations", lambda engine: len(query.status(engine)), LATEST, 15)
    yield Asked("the same, view `balance_latest`", _sql("SELECT * FROM balance_latest"), aim=15)
    yield Asked("one organization, 24 h, every balance", **range_of(1))
    yield Asked("one organization, 30 d, every balance", **range_of(30))
    year = {"since": BEGIN, "until": END}
    by_day = lambda engine: _rows(query.history_buckets(engine, vendor_id, every=DAY, **year))  # noqa: E731
    yield Asked("one organization's year, `history --every 1d`", by_day, BY_DAY.format(one=ONE), 50)
    day = USE.format(bucket="substr(taken_at, 1, 10)", where=where)
    yield Asked("one organization's year, `usage --by day`", used(By.DAY, UTC, vendor_id), day, 50)
    yield Asked("use of all by month, UTC", used(By.MONTH, UTC), USE.format(bucket=month, where=""), 200)
    yield Asked("use of all by month, Europe/Berlin", used(By.MONTH, BERLIN), local)
    yield Asked("the 100 newest incidents", lambda engine: len(query.incidents(engine, limit=100)))
    yield Asked("one organization's incidents", lambda engine: len(query.incidents(engine, organization=vendor_id)))
    yield Asked("all 20,000 incidents", lambda engine: len(query.incidents(engine)))


def _rows(rows: Iterator[Any]) -> int:
    return sum(1 for _ in rows)


def _sql(statement: str) -> Callable[[sa.Engine], int]:
    def ask(engine: sa.Engine) -> int:
        with transaction(engine) as tx:
            return len(tx.exec_driver_sql(statement).all())

    return ask


# --- asking -----------------------------------------------------------------------------------------------------------


@contextmanager
def _reader(url: str) -> Iterator[sa.Engine]:
    engine = open_reader(url)

    @sa.event.listens_for(engine, "connect")
    def _patient(connection: Any, _record: object) -> None:  # the plain way may take more than a minute
        if engine.dialect.name == "postgresql":
            connection.execute("SET statement_timeout = 0")
            connection.commit()

    try:
        yield engine
    finally:
        engine.dispose()


def print_questions(kind: str, url: str, plain_url: str, newest: datetime) -> None:
    asked = list(questions(newest, kind))
    with _reader(url) as engine:
        ours = [
            _measure(f"{kind}: {question.text}", lambda question=question: question.ours(engine)) for question in asked
        ]
    with _reader(plain_url) as engine:
        plain = [
            question.plain and _measure(f"{kind}: plain: {question.text}", partial(_sql(question.plain), engine))
            for question in asked
        ]
    lines = []
    for question, mine, other in zip(asked, ours, plain, strict=True):
        gain = f"{other.median / mine.median:,.1f} x" if other else "-"
        aim = (
            "-"
            if question.aim is None
            else f"{question.aim:g} ms" + ("" if mine.median <= question.aim else ", missed")
        )
        lines.append((question.text, f"{mine.result:,}", str(mine), str(other or "-"), gain, aim))
    table(("question; median (fastest)", "rows", "ours", "the plain way", "faster", "aim"), lines)


def _measure(what: str, work: Callable[[], int]) -> Measured:
    measured = measure(work)
    more(f"{what}: {measured}")
    return measured
