"""`credit-monitor check`: one poll, now, with an exit code as monitoring plugins have them."""

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from monitor.cli.logs import log_to_stderr
from monitor.cli.options import load, row_options
from monitor.cli.output import Row, print_rows

if TYPE_CHECKING:
    from monitor.check import CheckReport

EXIT_CODES: Final = {"critical": 2, "warning": 1, "unknown": 3, "ok": 0}  # worst first, as monitoring plugins have them


@click.command()
@click.argument("organizations", nargs=-1, metavar="[ORGANIZATION]...")
@click.option("--dry-run", is_flag=True, help="Store nothing, send nothing.")
@row_options
def check(organizations: tuple[str, ...], config_file: Path | None, style: str, *, dry_run: bool) -> None:
    """Poll now; exit 0 ok, 1 warning, 2 critical, 3 unknown."""
    import asyncio  # noqa: PLC0415

    from monitor import check as checking  # noqa: PLC0415
    from monitor.config.checks import require_accounts  # noqa: PLC0415
    from monitor.daemon import process  # noqa: PLC0415

    log_to_stderr(logging.ERROR)
    settings = load(config_file)
    require_accounts(settings)
    report = asyncio.run(checking.check(settings, organizations, clock=process.wall_clock, dry_run=dry_run))
    columns = ("organization", "credits", "change", "state")
    print_rows(map(_check_row, report.checked), columns, style=style, empty="No organization was found.")
    for line in _explanations(report):
        click.echo(line, err=True)
    raise click.exceptions.Exit(_worst(report))


def _check_row(one: Any) -> Row:
    row = one.organization
    fresh = row.failure is None
    change = row.snapshot.credits - row.previous.credits if fresh and row.snapshot and row.previous else None
    return {
        "organization": row.name,
        "id": row.vendor_id,
        "title": row.title,
        "account": row.account,
        "credits": row.snapshot.credits if row.snapshot else None,
        "change": change,
        "taken_at": row.snapshot.taken_at if row.snapshot else None,
        "state": one.state,
        "severity": one.level.label if one.level is not None else None,
        "failure": row.failure.kind.value if row.failure else None,
        "failure_message": row.failure.message if row.failure else None,
    }


def _explanations(report: "CheckReport") -> Iterator[str]:
    for account, (_, why) in report.accounts.items():
        yield f"account {account}: {why}"
    for one in report.checked:
        if one.organization.failure:
            yield f"{one.organization.name}: {one.organization.failure.message}"


def _worst(report: "CheckReport") -> int:
    states = {one.state for one in report.checked}
    states |= {"unknown" if level is None else level.label for level, _ in report.accounts.values()}
    if not report.checked:
        states.add("unknown")
    return next(code for state, code in EXIT_CODES.items() if state in states)
