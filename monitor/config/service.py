"""What systemd gives the service, for whoever runs a command beside it on the service's file."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from monitor.config.secrets import CREDENTIALS
from monitor.config.sources import find_file

UNIT: Final = "credit-monitor.service"
FILE: Final = Path("/etc/credit-monitor/config.toml")
CREDENTIALS_OF_UNIT: Final = Path("/run/credentials") / UNIT
STATE: Final = Path("/var/lib/credit-monitor")
UNITS: Final = tuple(Path(folder) / UNIT for folder in ("/etc/systemd/system", "/usr/lib/systemd/system"))


def service_environ(path: Path | None, environ: Mapping[str, str]) -> Mapping[str, str]:
    """Return the environment, with the service's credentials and state directory when its file is the one in use.

    Root can read them while the service runs; without them every key would seem to be missing, and the database would
    be another one.
    """
    if find_file(path, environ) != FILE or CREDENTIALS in environ:
        return environ
    added = {}
    if CREDENTIALS_OF_UNIT.is_dir() and os.access(CREDENTIALS_OF_UNIT, os.R_OK | os.X_OK):
        added[CREDENTIALS] = str(CREDENTIALS_OF_UNIT)
    if STATE.is_dir() and "STATE_DIRECTORY" not in environ:
        added["STATE_DIRECTORY"] = str(STATE)
    return {**environ, **added}


def credentials_hint(file: Path | None, environ: Mapping[str, str]) -> str | None:
    """Return how a command gets the service's credentials; None where it has them, and where there is no service."""
    if file != FILE or CREDENTIALS in environ or not any(unit.exists() for unit in UNITS):
        return None
    if os.geteuid() != 0:
        return "the service has it as a credential: sudo credit-monitor …"
    return "root has the service's credentials while it runs: systemctl start credit-monitor"
