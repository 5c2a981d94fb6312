"""`credit-monitor notify`: a test message, and what became of it."""

from pathlib import Path
from typing import Final

import click

from monitor.cli.options import config_option, load
from monitor.cli.streams import verdict
from monitor.errors import DeliveryError

OPENED_AND_RESOLVED: Final = " (an incident of its own was opened there, and resolved)"


@click.command(short_help="Send a test message to channels.")
@click.argument("channels", nargs=-1, required=True, metavar="CHANNEL...")
@config_option
def notify(channels: tuple[str, ...], config_file: Path | None) -> None:
    """Send a test message to each CHANNEL and say what happened; exit 69 if one did not take it."""
    import asyncio  # noqa: PLC0415

    from monitor import check as checking  # noqa: PLC0415
    from monitor.daemon import process  # noqa: PLC0415

    settings = load(config_file)
    outcomes = asyncio.run(checking.send_test(settings, channels, clock=process.wall_clock))
    on_call = checking.on_call(settings, channels)
    taken = [channel for channel, error in outcomes.items() if error is None]
    checking.expedite(settings, taken, at=process.wall_clock())
    refused = [channel for channel, error in outcomes.items() if error is not None]
    with verdict(DeliveryError.exit_code if refused else 0):
        for channel, error in outcomes.items():
            delivered = f"delivered{OPENED_AND_RESOLVED if channel in on_call else ''}"
            click.echo(f"{channel}: {delivered if error is None else 'NOT delivered: ' + error}")
