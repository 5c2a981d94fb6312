"""`credit-monitor doctor`: everything looked over, one line each."""

import logging
import os
from pathlib import Path
from typing import TYPE_CHECKING

import click

from monitor.cli.logs import log_to_stderr
from monitor.cli.options import row_options
from monitor.cli.output import print_rows, say
from monitor.cli.streams import verdict
from monitor.cli.table import Row
from monitor.text import mask

if TYPE_CHECKING:
    from monitor.doctor import Finding

COLUMNS = ("state", "what", "found", "todo")
EXIT_CODES = {"problem": 2, "warning": 1, "ok": 0}  # worst first


@click.command(short_help="Look over everything, and say what to do.")
@click.option("--send", is_flag=True, help="Send a test message to every channel.")
@row_options
def doctor(config_file: Path | None, style: str, *, send: bool) -> None:
    """Look over everything; exit 0 all is well, 1 warnings, 2 problems. Asks the vendor; sends only with --send."""
    import asyncio  # noqa: PLC0415

    from monitor.daemon import process  # noqa: PLC0415
    from monitor.doctor import examine  # noqa: PLC0415

    log_to_stderr(logging.CRITICAL)  # what is wrong is found, and said once
    findings = asyncio.run(examine(config_file, os.environ, clock=process.wall_clock, send=send))
    states = {finding.state.value for finding in findings}
    with verdict(next(code for state, code in EXIT_CODES.items() if state in states)):
        if style == "table":
            for finding in findings:
                say(_line(finding), indent=" " * 9)
        else:
            print_rows(map(_row, findings), COLUMNS, style=style)
            for finding in findings:
                if (finding.what, finding.state.value) == ("daemon", "problem"):
                    say(finding.found, err=True)


def _line(finding: "Finding") -> str:
    """`warning  clock: 75 s behind the vendor's → set the clock`; columns would be too wide for a screen."""
    todo = f" → {finding.todo}" if finding.todo else ""
    return mask(f"{finding.state.value:<7}  {finding.what}: {finding.found}{todo}")


def _row(finding: "Finding") -> Row:
    return {"state": finding.state.value, "what": finding.what, "found": finding.found, "todo": finding.todo}
