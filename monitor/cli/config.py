"""`credit-monitor config`: validate, show, init."""

import os
from pathlib import Path
from typing import TYPE_CHECKING

import click

from monitor.cli.options import config_option, load, row_options, tell_warnings
from monitor.cli.output import print_rows, say
from monitor.cli.streams import verdict
from monitor.errors import UsageError

if TYPE_CHECKING:
    from monitor.config import Settings


@click.group()
def config() -> None:
    """Begin, validate or show a configuration."""


@config.command(short_help='List every mistake, or say "valid".')
@config_option
def validate(config_file: Path | None) -> None:
    """List every mistake and exit 78, or say "valid"; keys and channel URLs are read, nobody is asked or told."""
    import asyncio  # noqa: PLC0415

    from monitor.config import load_sound  # noqa: PLC0415
    from monitor.config.checks import all_findings_in, deaf_fallbacks, on_call_overrides  # noqa: PLC0415
    from monitor.config.service import service_environ  # noqa: PLC0415
    from monitor.errors import ConfigError  # noqa: PLC0415

    settings, found = load_sound(config_file, service_environ(config_file, os.environ))
    tell_warnings(settings)
    if not settings.channels:
        click.echo("warning: channels: there is none, so nobody will be told", err=True)
    for warning in (*deaf_fallbacks(settings), *on_call_overrides(settings)):
        click.echo(f"warning: {warning}", err=True)
    mistakes, warnings = asyncio.run(all_findings_in(settings, found))
    for warning in warnings:
        click.echo(f"warning: {warning}", err=True)
    if mistakes:
        raise ConfigError(mistakes)
    with verdict(0):
        say(f"{settings.file or 'environment'}: valid ({_count(settings)})")


def _count(settings: "Settings") -> str:
    """What is configured: "1 account, 2 channels"."""
    parts = {"account": settings.accounts, "organization": settings.organizations, "channel": settings.channels}
    return ", ".join(f"{len(those)} {what}{'s' * (len(those) > 1)}" for what, those in parts.items() if those)


@config.command(short_help="Print every setting and its source.")
@row_options
def show(config_file: Path | None, style: str) -> None:
    """Print every setting in force and where it comes from; secrets are shown as ***."""
    from monitor.config import effective_settings  # noqa: PLC0415
    from monitor.config.service import service_environ  # noqa: PLC0415

    load(config_file)  # for its warnings
    found = effective_settings(config_file, service_environ(config_file, os.environ))
    rows = ({"key": row.key, "value": row.value, "source": row.source} for row in found)
    print_rows(rows, ("key", "value", "source"), style=style, least=("source",))


@config.command(short_help="Write a configuration with every setting.")
@click.argument("file", type=click.Path(path_type=Path, allow_dash=True), default=Path("config.toml"))
def init(file: Path) -> None:
    """Write a commented configuration with every setting to FILE (default: config.toml), a new one; - prints it."""
    from monitor.config import example  # noqa: PLC0415
    from monitor.store.file_access import create_file  # noqa: PLC0415

    if str(file) == "-":
        click.echo(example(), nl=False)
        return
    try:
        descriptor = create_file(file)
    except FileExistsError:
        raise UsageError(f"{file}: exists already, and is left as it is") from None
    except OSError as error:
        raise UsageError(f"{file}: cannot be written: {(error.strerror or type(error).__name__).lower()}") from None
    with os.fdopen(descriptor, "w", encoding="utf-8") as target:
        target.write(example())
    with verdict(0):
        click.echo(f"{file}: written; edit it, then: credit-monitor config validate --config {file}")
