"""`credit-monitor run`: the daemon in the foreground, as a service manager starts it."""

import logging
import os
import signal
import sys
from pathlib import Path

import click

from monitor.cli.logs import log_to_stderr
from monitor.cli.options import config_option, provider_option, tell_warnings, with_vendors


@click.command()
@config_option
@click.option("--verbose", is_flag=True, help="Log every step.")
@provider_option
def run(config_file: Path | None, vendors: tuple[str, ...], *, verbose: bool) -> None:
    """Watch until told to stop."""
    from monitor import config  # noqa: PLC0415
    from monitor.daemon import process  # noqa: PLC0415

    terminal = process.Terminal.of_this_process()
    # Until the daemon has handlers of its own: it reads the configuration now, so that a reload has nothing to add.
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    log_to_stderr(logging.DEBUG if verbose else logging.INFO)
    environ = with_vendors(os.environ, vendors)
    settings = config.load(config_file, environ)  # not what a service beside this one has
    tell_warnings(settings)
    if not settings.channels:
        logging.getLogger("monitor").warning("NOBODY WILL BE TOLD: no channel is configured")
    process.run(settings, reread=lambda: config.load(config_file, environ), terminal=terminal)
