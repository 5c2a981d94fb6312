"""The configuration: file, credentials and environment, once, into frozen settings, or one error with every mistake.

Secrets are not read here but by the methods of `Settings`.
"""

from pathlib import Path

from monitor.config.loader import effective_settings, load, load_sound
from monitor.config.settings import (
    Account,
    Channel,
    Database,
    DigestTime,
    Effective,
    Organization,
    Poll,
    QuietHours,
    Retention,
    Settings,
    Web,
)
from monitor.config.sources import find_file
from monitor.config.units import database_url

__all__ = [
    "Account",
    "Channel",
    "Database",
    "DigestTime",
    "Effective",
    "Organization",
    "Poll",
    "QuietHours",
    "Retention",
    "Settings",
    "Web",
    "database_url",
    "effective_settings",
    "example",
    "find_file",
    "load",
    "load_sound",
]


def example() -> str:
    """The example configuration: inside the package when installed, beside it in the repository."""
    package = Path(__file__).parents[1]
    installed = package / "config.example.toml"
    return (installed if installed.is_file() else package.parent / "config.example.toml").read_text(encoding="utf-8")
