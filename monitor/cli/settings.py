"""`credit-monitor config`: validate, show, init."""

import os
from pathlib import Path

import click

from monitor.cli.options import asking, config_option, load
from monitor.cli.output import show as print_rows
from monitor.errors import UsageError


@click.group()
def config() -> None:
    """Validate, show or begin a configuration."""


@config.command()
@config_option
def validate(config_file: Path | None) -> None:
    """List every mistake in the configuration; exit 78 if there is any."""
    import asyncio  # noqa: PLC0415

    from monitor.app import channel_mistakes, require_accounts, secret_mistakes  # noqa: PLC0415
    from monitor.errors import ConfigError  # noqa: PLC0415

    settings = load(config_file)
    require_accounts(settings)
    if mistakes := secret_mistakes(settings) or asyncio.run(channel_mistakes(settings)):
        raise ConfigError(mistakes)
    where = settings.file or "the environment"
    counts = f"{len(settings.accounts)} account(s), {len(settings.channels)} channel(s)"
    click.echo(f"{where}: valid, {counts}")


@config.command()
@asking
def show(config_file: Path | None, style: str) -> None:
    """Print every effective setting with its source; secrets are not shown."""
    from monitor.config import effective_settings  # noqa: PLC0415

    found = effective_settings(config_file, os.environ)
    rows = ({"key": row.key, "value": row.value, "source": row.source} for row in found)
    print_rows(rows, ("key", "value", "source"), style=style)


@config.command()
@click.argument("file", type=click.Path(path_type=Path), default=Path("config.toml"))
def init(file: Path) -> None:
    """Write an example configuration with every setting to FILE (default: config.toml); never over one that exists."""
    from monitor.config import example  # noqa: PLC0415

    try:
        descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        raise UsageError(f"{file}: exists already, and is left as it is") from None
    except OSError as error:
        raise UsageError(f"{file}: cannot be written: {error.strerror}") from None
    with os.fdopen(descriptor, "w", encoding="utf-8") as target:
        target.write(example())
    click.echo(f"{file}: written; edit it, then: credit-monitor config validate --config {file}")
