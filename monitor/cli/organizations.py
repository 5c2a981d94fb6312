"""`credit-monitor organizations`: what each key sees, asked of the vendor now."""

from pathlib import Path

import click

from monitor.cli.options import load, row_options
from monitor.cli.output import print_rows
from monitor.errors import FetchError


@click.command()
@row_options
def organizations(config_file: Path | None, style: str) -> None:
    """What each account's key sees, asked of the vendor now."""
    import asyncio  # noqa: PLC0415

    from monitor.check import seen_organizations  # noqa: PLC0415
    from monitor.config.checks import require_accounts  # noqa: PLC0415
    from monitor.poll.assignment import default_name  # noqa: PLC0415

    settings = load(config_file)
    require_accounts(settings)
    seen = asyncio.run(seen_organizations(settings))
    names = {(one.account, one.id): one.name for one in settings.organizations.values() if one.id is not None}
    rows = [
        {
            "account": account,
            "id": one.id,
            "title": one.name,
            "default": one.is_default,
            "organization": names.get((account, one.id)) or default_name(settings.accounts[account], one.id),
            "unit": found.units.get(one.id),
        }
        for account, found in seen.items()
        if not isinstance(found, FetchError)
        for one in found.organizations
    ]
    columns = ("account", "id", "title", "default", "organization", "unit")
    print_rows(rows, columns, style=style, empty="No organization.", least=("default", "title", "unit"))
    for account, found in seen.items():
        for line in () if isinstance(found, FetchError) else found.unusable:
            click.echo(f"account {account}: cannot be watched: {line}", err=True)
    failed = {account: found for account, found in seen.items() if isinstance(found, FetchError)}
    for account, error in failed.items():
        click.echo(f"account {account}: {error}", err=True)
    if failed:
        raise click.exceptions.Exit(69)
