"""How much room a balance takes, with everything that belongs to it."""

import sqlite3
from pathlib import Path

import psycopg
import sqlalchemy as sa

from benchmarks.history.stage import Stage
from benchmarks.history.year import Year
from benchmarks.measure import table

PARTS = {
    "balances": ("snapshots",),
    "use by day": ("balance_days",),
    "current rows, accounts": ("organizations", "accounts"),
    "20,000 incidents, what was said of them and to whom": ("incidents", "notifications", "deliveries", "attempts"),
}
AIM = 30


def print_sizes(stage: Stage, year: Year) -> None:
    sizes = _of_sqlite(stage) if stage.kind == "sqlite" else _of_postgres(stage)
    lines = []
    for what, names in PARTS.items():
        size = sum(sizes[name] for name in names)
        lines.append((what, f"{size / 2**20:,.1f} MiB", f"{size / year.snapshots:.2f}", ""))
    history = sum(sizes[name] for name in ("snapshots", "balance_days", "organizations", "accounts"))
    aim = f"{AIM}" + ("" if history / year.snapshots <= AIM else ", missed") if stage.kind == "sqlite" else "-"
    lines.append(("all but incidents", f"{history / 2**20:,.1f} MiB", f"{history / year.snapshots:.2f}", aim))
    whole, plain = sizes["whole"], sizes["plain"]
    lines.append(("the whole database", f"{whole / 2**20:,.1f} MiB", f"{whole / year.snapshots:.2f}", "-"))
    lines.append(("the plain way: table and index", f"{plain / 2**20:,.1f} MiB", f"{plain / year.snapshots:.2f}", "-"))
    table(("what", "size", "bytes a balance", "aim"), lines)


def _of_sqlite(stage: Stage) -> dict[str, int]:
    path = Path(sa.make_url(stage.url).database or "")
    with sqlite3.connect(f"file:{path}?mode=ro", uri=True) as connection:
        owners = dict(connection.execute("SELECT name, tbl_name FROM sqlite_master WHERE type IN ('table', 'index')"))
        sizes = dict.fromkeys({name for names in PARTS.values() for name in names}, 0)
        for name, size in connection.execute("SELECT name, sum(pgsize) FROM dbstat GROUP BY name"):
            owner = owners.get(name, name)
            sizes[owner] = sizes.get(owner, 0) + size
    plain = Path(sa.make_url(stage.plain_url).database or "")
    return sizes | {"whole": path.stat().st_size, "plain": plain.stat().st_size}


def _of_postgres(stage: Stage) -> dict[str, int]:
    with psycopg.connect(stage.url) as connection:
        names = [name for names in PARTS.values() for name in names]
        sizes = {name: _scalar(connection, "SELECT pg_total_relation_size(%s::regclass)", name) for name in names}
        sizes["whole"] = _scalar(connection, "SELECT pg_database_size(%s)", "ours")
    with psycopg.connect(stage.plain_url) as connection:
        return sizes | {"plain": _scalar(connection, "SELECT pg_total_relation_size(%s::regclass)", "balances")}


def _scalar(connection: psycopg.Connection, question: str, name: str) -> int:
    row = connection.execute(question, [name]).fetchone()  # type: ignore[call-overload]
    return int(row[0])
