"""`credit-monitor silence` and `silences`: say "not now", look who did, and take it back."""

import getpass
import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta, tzinfo
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from monitor.cli.completion import silenced_names
from monitor.cli.options import Duration, SilenceId, config_option, load, open_reader, row_options
from monitor.cli.output import print_rows, say
from monitor.cli.streams import verdict
from monitor.cli.table import Row
from monitor.errors import UsageError
from monitor.model import Rule, Severity
from monitor.rows.encode import format_local

if TYPE_CHECKING:
    from monitor.config import Settings
    from monitor.notify.silences import Silenced
    from monitor.store.writer import Store

LEAST: Final = ("created_at", "up_to", "author", "rule", "ended_at")
NO_REASON: Final = "no reason given"  # what a message tells to run has none
RULES = click.Choice([rule.value for rule in Rule])


@contextmanager
def _writer(settings: "Settings") -> "Iterator[Store]":
    """The database for one short transaction beside the daemon; none is made, and no secret is read."""
    from monitor.store.writer import Store  # noqa: PLC0415

    with open_reader(settings):
        opened = Store(settings.database.url)
    try:
        yield opened
    finally:
        opened.close()


@click.command(short_help="Say nothing of an organization or account.")
@click.argument("name", shell_complete=silenced_names)
@click.option("--rule", type=RULES, help="This rule alone; `credential` is silenced only so.")
@click.option("--for", "length", type=Duration(), help="For so long: 30m, 2h, 7d.")
@click.option("--until-resolved", is_flag=True, help="Acknowledge: until it is over or gets worse.")
@click.option("--reason", default=NO_REASON, help="Why.")
@click.option("--author", help="Who.  [default: your login name]")
@config_option
def silence(
    name: str,
    rule: str | None,
    length: timedelta | None,
    reason: str,
    author: str | None,
    config_file: Path | None,
    *,
    until_resolved: bool,
) -> None:
    """Say nothing of an organization or account NAME, up to the severity it has now."""
    if (length is not None) == until_resolved:
        raise UsageError("either --for LENGTH or --until-resolved is needed")
    from monitor.notify import silences  # noqa: PLC0415

    now = datetime.now(UTC)
    request = silences.SilenceRequest(
        name, Rule(rule) if rule else None, now + length if length else None, _who(author), reason
    )
    settings = load(config_file)
    with _writer(settings) as opened:
        begun = opened.write_now(lambda tx: silences.begin(tx, request, at=now))
    with verdict(0):
        for one in begun:
            say(_begun(one, settings.timezone))


def _who(author: str | None) -> str:
    """The person at the keyboard, also behind sudo."""
    try:
        found = author or os.environ.get("SUDO_USER") or getpass.getuser()
    except (KeyError, OSError):
        found = ""
    if not found.strip():
        raise UsageError("--author: say who you are; there is no login name")
    return found.strip()


def _begun(one: "Silenced", zone: tzinfo) -> str:
    """What was silenced and what was not, in a line or two."""
    said = one.silence
    standing = ", ".join(f"{i.rule.value} {i.severity.label}" for i in one.incidents) or "nothing"
    until = f"until {format_local(said.until, zone)}" if said.until else "until resolved or worse"
    line = f"silence {said.id}: {one.name}, {_rules(said.rule)}, up to {said.up_to.label}, {until} (open: {standing})"
    if said.up_to < Severity.CRITICAL:
        line += "\nA critical one will still be told."
    return line


def _rules(rule: Rule | None) -> str:
    return rule.value if rule else "every rule but credential"


@click.command()
@click.option("--all", "ended_too", is_flag=True, help="Those that have ended, too.")
@click.option(
    "--lift", type=SilenceId(), metavar="ID", help="End this one now; what still stands is said by the next check."
)
@row_options
def silences(lift: int | None, config_file: Path | None, style: str, *, ended_too: bool) -> None:
    """The silences that stand."""
    if lift is not None:
        _lift(lift, config_file)
        return
    from monitor import query  # noqa: PLC0415

    settings = load(config_file)
    with open_reader(settings) as engine:
        rows = query.silences(engine, at=datetime.now(UTC), active_only=not ended_too)
    columns = ("id", "subject", "rule", "up_to", "until", "author", "reason", "created_at")
    rows_ = (_row(row, table=style == "table") for row in rows)
    shown = columns + ("ended_at",) * ended_too
    print_rows(rows_, shown, style=style, empty="No silence.", zone=settings.timezone, least=LEAST)


def _lift(silence_id: int, config_file: Path | None) -> None:
    from monitor.notify import silences  # noqa: PLC0415

    with _writer(load(config_file)) as opened:
        lifted = opened.write_now(lambda tx: silences.lift(tx, silence_id, at=datetime.now(UTC)))
    with verdict(0):
        click.echo(f"silence {lifted.id}: lifted; what still stands is said by the next check")


def _row(row: Any, *, table: bool) -> Row:
    return {
        "id": row.id,
        "subject": row.organization or f"account {row.account}",
        "organization": row.organization,
        "account": row.account,
        "rule": _rules(row.rule) if table else row.rule and row.rule.value,
        "up_to": row.up_to.label,
        "until": row.until or ("resolved" if table else None),
        "author": row.author,
        "reason": row.reason,
        "created_at": row.created_at,
        "ended_at": row.ended_at,
    }
