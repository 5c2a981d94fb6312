"""`credit-monitor check`: one poll, now, with an exit code as monitoring plugins have them."""

import logging
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from monitor.cli.completion import organization_names
from monitor.cli.logs import log_to_stderr
from monitor.cli.options import load, open_reader, provider_option, row_options
from monitor.cli.output import print_rows, say
from monitor.cli.streams import verdict
from monitor.cli.table import Row
from monitor.errors import DatabaseError

if TYPE_CHECKING:
    from monitor.check import CheckReport
    from monitor.config import Settings

EXIT_CODES: Final = {"critical": 2, "warning": 1, "unknown": 3, "ok": 0}  # worst first, as monitoring plugins have them


_KEYS: Final = (
    *("organization", "id", "title", "account", "credits", "change", "taken_at"),
    *("state", "severity", "failure", "failure_message", "unit"),
)


@click.command()
@click.argument("organizations", nargs=-1, metavar="[ORGANIZATION]...", shell_complete=organization_names)
@click.option("--dry-run", is_flag=True, help="Store nothing, send nothing.")
@provider_option
@row_options
def check(
    organizations: tuple[str, ...], vendors: tuple[str, ...], config_file: Path | None, style: str, *, dry_run: bool
) -> None:
    """Poll now; exit 0 ok, 1 warning, 2 critical, 3 unknown."""
    import asyncio  # noqa: PLC0415

    from monitor import check as checking  # noqa: PLC0415
    from monitor.config.checks import require_accounts  # noqa: PLC0415
    from monitor.daemon import process  # noqa: PLC0415

    log_to_stderr(logging.ERROR)
    settings = load(config_file, vendors)
    require_accounts(settings)
    standstill = _standstill(settings)  # before this check itself is the newest
    report = asyncio.run(checking.check(settings, organizations, clock=process.wall_clock, dry_run=dry_run))
    columns = ("organization", "credits", "change", "state")
    with verdict(_worst(report)):
        print_rows(_rows(report), columns, style=style, empty="No organization was found.", least=("change",))
        for line in (*_explanations(report), *standstill):
            say(line, err=True)


def _standstill(settings: "Settings") -> list[str]:
    from monitor import query  # noqa: PLC0415

    try:
        with open_reader(settings) as engine:
            line = query.standstill_line(
                engine, every=settings.shortest_every, limits=settings.rate_limits, at=datetime.now(UTC)
            )
    except DatabaseError:  # there is none yet, or the check itself says why
        return []
    return [line] if line else []


def _rows(report: "CheckReport") -> Iterator[Row]:
    yield from map(_check_row, report.checked)
    for name, why in report.not_found.items():
        yield _unfound_row(name, why)


def _check_row(one: Any) -> Row:
    row = one.organization
    fresh = row.failure is None
    change = row.snapshot.credits - row.previous.credits if fresh and row.snapshot and row.previous else None
    values = (
        *(row.name, row.vendor_id, row.title, row.account),
        *(row.snapshot.credits if row.snapshot else None, change, row.snapshot.taken_at if row.snapshot else None),
        *(one.state, one.level.label if one.level is not None else None),
        *(row.failure.kind.value if row.failure else None, row.failure.message if row.failure else None),
        row.unit or None,
    )
    return dict(zip(_KEYS, values, strict=True))


def _unfound_row(name: str, why: str) -> Row:
    """An organization that was asked for and that nobody could look up."""
    known = {"organization": name, "state": "unknown", "failure_message": why}
    return {key: known.get(key) for key in _KEYS}


def _explanations(report: "CheckReport") -> Iterator[str]:
    from monitor.check import is_of_key  # noqa: PLC0415

    for account, (_, why) in report.accounts.items():
        yield f"account {account}: {why}"
    for name, why in report.not_found.items():
        yield f"{name}: {why}"
    for one in report.checked:
        failure, account = one.organization.failure, one.organization.account
        if failure and not (account in report.accounts and is_of_key(failure)):  # which its account's line says
            yield f"{one.organization.name}: {failure.message}"


def _worst(report: "CheckReport") -> int:
    states = {one.state for one in report.checked}
    states |= {"unknown" if level is None else level.label for level, _ in report.accounts.values()}
    if not report.checked or report.not_found:
        states.add("unknown")
    return next(code for state, code in EXIT_CODES.items() if state in states)
