"""`credit-monitor demo`: what the daemon does, watched in a terminal.  `demo_play` does it."""

import sys
from datetime import timedelta

import click

from monitor.cli.options import Duration


@click.command(short_help="The real daemon against a simulated vendor.")
@click.option("--for", "length", type=Duration(), help="End by itself after so long (30s).")
def demo(length: timedelta | None) -> None:
    """Watch the real daemon against a simulated vendor, in this terminal; Ctrl-C ends it."""
    import asyncio  # noqa: PLC0415

    from monitor.cli.demo_play import play  # noqa: PLC0415

    sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]
    raise click.exceptions.Exit(asyncio.run(play(length)))
