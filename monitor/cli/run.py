"""What does something: run, check, notify, demo."""

import logging
import os
import signal
import sys
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from monitor.cli.logs import log_to_stderr
from monitor.cli.options import Duration, asking, config_option, load
from monitor.cli.output import Row, show
from monitor.errors import DeliveryError

if TYPE_CHECKING:
    from monitor.app import CheckReport

EXIT_CODES: Final = {"critical": 2, "warning": 1, "unknown": 3, "ok": 0}  # worst first, as monitoring plugins have them


@click.command()
@config_option
@click.option("--verbose", is_flag=True, help="Log every step.")
def run(config_file: Path | None, *, verbose: bool) -> None:
    """Watch until told to stop."""
    from monitor import config  # noqa: PLC0415
    from monitor.daemon import process  # noqa: PLC0415

    # Until the daemon has handlers of its own: it reads the configuration now, so that a reload has nothing to add.
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    log_to_stderr(logging.DEBUG if verbose else logging.INFO)
    settings = load(config_file)
    if not settings.channels:
        logging.getLogger("monitor").warning("NOBODY WILL BE TOLD: no channel is configured")
    process.run(settings, reread=lambda: config.load(config_file, os.environ))


@click.command()
@click.argument("organizations", nargs=-1, metavar="[ORGANIZATION]...")
@click.option("--dry-run", is_flag=True, help="Store nothing, send nothing.")
@asking
def check(organizations: tuple[str, ...], config_file: Path | None, style: str, *, dry_run: bool) -> None:
    """Poll now; exit 0 ok, 1 warning, 2 critical, 3 unknown."""
    import asyncio  # noqa: PLC0415

    from monitor import app  # noqa: PLC0415
    from monitor.config.checks import require_accounts  # noqa: PLC0415
    from monitor.daemon import process  # noqa: PLC0415

    log_to_stderr(logging.ERROR)
    settings = load(config_file)
    require_accounts(settings)
    report = asyncio.run(app.check(settings, organizations, clock=process.wall_clock, dry_run=dry_run))
    columns = ("organization", "credits", "change", "state")
    show(map(_check_row, report.checked), columns, style=style, empty="No organization was found.")
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


@click.command(short_help="Send a test message to channels.")
@click.argument("channels", nargs=-1, required=True, metavar="CHANNEL...")
@config_option
def notify(channels: tuple[str, ...], config_file: Path | None) -> None:
    """Send a test message to each CHANNEL and say what happened; exit 69 if one did not take it."""
    import asyncio  # noqa: PLC0415

    from monitor import app  # noqa: PLC0415
    from monitor.daemon import process  # noqa: PLC0415

    settings = load(config_file)
    outcomes = asyncio.run(app.send_test(settings, channels, clock=process.wall_clock))
    for channel, error in outcomes.items():
        click.echo(f"{channel}: {'delivered' if error is None else 'NOT delivered: ' + error}")
    refused = [channel for channel, error in outcomes.items() if error is not None]
    if refused:
        raise click.exceptions.Exit(DeliveryError.exit_code)


@click.command(short_help="The real daemon against a simulated vendor.")
@click.option("--for", "length", type=Duration(), help="End by itself after so long (30s).")
def demo(length: timedelta | None) -> None:
    """Watch the real daemon against a simulated vendor, in this terminal; Ctrl-C ends it."""
    import asyncio  # noqa: PLC0415

    from monitor.cli.demo import play  # noqa: PLC0415

    sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]
    raise click.exceptions.Exit(asyncio.run(play(length)))
