"""`credit-monitor status`: how everything stands, and below it what is wrong or kept quiet."""

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from monitor.cli.options import load, open_reader, row_options
from monitor.cli.output import print_rows, say

if TYPE_CHECKING:
    from monitor.config import Settings

LEAST: Final = ("change", "open", "taken_at", "runway")
COLUMNS: Final = ("organization", "credits", "change", "runway", "taken_at", "state", "open")


@click.command()
@row_options
def status(config_file: Path | None, style: str) -> None:
    """How every organization stands, as last recorded."""
    from monitor.rows.status import read_standing, runway_in_words  # noqa: PLC0415

    settings = load(config_file)
    with open_reader(settings) as engine:
        standing = read_standing(engine, settings, at=datetime.now(UTC))
    for line in standing.first_lines():
        say(f"{line}\n" if style == "table" else line, err=style != "table")
    rows = standing.rows()
    if style == "table":
        words = [{"runway": runway_in_words(standing.runways.get(row.id))} for row in standing.organizations]
        rows = (row | more for row, more in zip(rows, words, strict=True))
    none = "No organization yet; `credit-monitor check` finds them."
    print_rows(rows, COLUMNS, style=style, empty=none, zone=settings.timezone, least=LEAST)
    for line in standing.lines():
        say(line, err=style != "table")
    for line in _insecure(settings):
        say(f"warning: {line}", err=style != "table")


def _insecure(settings: "Settings") -> list[str]:
    """What travels unencrypted or to whoever answers, as far as this user may read the URLs."""
    import asyncio  # noqa: PLC0415

    from monitor.config.checks import insecure_secrets  # noqa: PLC0415
    from monitor.errors import ChildError  # noqa: PLC0415

    try:
        return asyncio.run(insecure_secrets(settings))
    except ChildError:  # `doctor` says why
        return []
