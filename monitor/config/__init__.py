"""The configuration: file, credentials and environment, once, into frozen settings, or one error with every mistake.

Secrets are not read here but by the methods of `Settings`.
"""

from pathlib import Path

from monitor.config.fields import Address, DigestTime, QuietHours, database_url, has_password
from monitor.config.loader import effective_settings, load, load_sound
from monitor.config.schema import Account, Channel, Database, Organization, Poll, Retention, Settings, Web
from monitor.config.show import Effective, rules_in_force
from monitor.config.sources import find_file

__all__ = [
    "Account",
    "Address",
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
    "has_password",
    "load",
    "load_sound",
    "rules_in_force",
]


def example() -> str:
    """Return the example configuration: inside the package when installed, beside it in the repository."""
    package = Path(__file__).parents[1]
    installed = package / "config.example.toml"
    return (installed if installed.is_file() else package.parent / "config.example.toml").read_text(encoding="utf-8")
