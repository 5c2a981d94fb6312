"""`credit-monitor notify`: a test message, and what became of it."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from monitor.cli.completion import channel_names
from monitor.cli.options import config_option, load
from monitor.cli.streams import verdict
from monitor.errors import DeliveryError
from monitor.text import mask

if TYPE_CHECKING:
    from monitor.model import Attempt

OPENED_AND_RESOLVED: Final = " (an incident of its own was opened there, and resolved)"


@click.command(short_help="Send a test message to channels.")
@click.argument("channels", nargs=-1, required=True, metavar="CHANNEL...", shell_complete=channel_names)
@config_option
def notify(channels: tuple[str, ...], config_file: Path | None) -> None:
    """Send a test message to each CHANNEL and say what happened; exit 69 if one did not take it."""
    import asyncio  # noqa: PLC0415

    from monitor import check as checking  # noqa: PLC0415
    from monitor.daemon import process  # noqa: PLC0415

    settings = load(config_file)
    attempts = asyncio.run(checking.send_test(settings, channels, clock=process.wall_clock))
    on_call = checking.on_call(settings, channels)
    taken = [channel for channel, attempt in attempts.items() if attempt.reached]
    checking.expedite(settings, taken, at=process.wall_clock())
    refused = any(attempt.error is not None for attempt in attempts.values())
    with verdict(DeliveryError.exit_code if refused else 0):
        for channel, attempt in attempts.items():
            for line in _lines(attempt, is_on_call=channel in on_call):
                click.echo(mask(f"{channel}: {line}"))


def _lines(attempt: "Attempt", *, is_on_call: bool) -> Iterator[str]:
    """What became of a message, at each of several recipients."""
    delivered = f"delivered{OPENED_AND_RESOLVED if is_on_call else ''}"
    if not attempt.targets:
        yield delivered if attempt.error is None else f"NOT delivered: {attempt.error}"
        return
    if reached := ", ".join(target.name for target in attempt.targets if target.error is None):
        yield f"{delivered} to {reached}"
    for target in attempt.targets:
        if target.error is not None:
            yield f"NOT delivered to {target.name}: {target.error}"
