"""The command line: reads arguments, prints answers, picks the exit code; nothing else prints.

Imports what a command needs inside the command, so that `--help` costs no more than click.
"""

import os
import sys
import traceback

import click

from monitor import __version__
from monitor.cli.backtest import backtest
from monitor.cli.check import check
from monitor.cli.completion import completion
from monitor.cli.config import config
from monitor.cli.db import db
from monitor.cli.deliveries import deliveries
from monitor.cli.demo import demo
from monitor.cli.doctor import doctor
from monitor.cli.healthy import healthy
from monitor.cli.history import history
from monitor.cli.incidents import incidents
from monitor.cli.notify import notify
from monitor.cli.organizations import organizations
from monitor.cli.providers import providers
from monitor.cli.run import run
from monitor.cli.silence import silence, silences
from monitor.cli.status import status
from monitor.cli.streams import OutputLost, lost, open_standard_streams
from monitor.cli.usage import usage
from monitor.errors import MonitorError, UsageError
from monitor.text import escape_lines


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="credit-monitor", message="%(prog)s %(version)s")
def cli() -> None:
    """Watch prepaid Stability AI credits, and tell the right people before they run out."""


for command in (
    *(run, check, status, history, usage, incidents, deliveries, organizations, providers, notify),
    *(silence, silences, backtest, config, db, doctor, demo, healthy, completion),
):
    cli.add_command(command)


def main() -> None:
    """The command `credit-monitor`."""
    os.umask(0o077)
    open_standard_streams()
    sys.exit(_exit_code())


def _exit_code() -> int:
    try:
        code = _run()
    except OutputLost as error:
        return lost(error)
    try:
        sys.stdout.flush()
    except OutputLost as error:
        lost_code = lost(error)
        return code or lost_code
    return code


def _run() -> int:
    """Run the command; return its exit code."""
    try:
        code = cli.main(standalone_mode=False)
    except click.exceptions.Exit as done:
        return done.exit_code
    except click.Abort:
        return 130
    except click.ClickException as mistake:
        mistake.show()
        return UsageError.exit_code
    except MonitorError as error:
        print(escape_lines(str(error)), file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        return 130
    except OutputLost:
        raise
    except OSError as error:
        print(f"credit-monitor: {error.strerror or error}", file=sys.stderr)
        return MonitorError.exit_code
    except Exception:  # noqa: BLE001 -- a fault of ours: the trace is what a report needs
        traceback.print_exc()
        return MonitorError.exit_code
    return code if isinstance(code, int) else 0
