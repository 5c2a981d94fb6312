"""`credit-monitor healthy`: a container's health check; quick, needs no page, no configuration and no database."""

import os

import click

from monitor.daemon.progress import OLDEST, last_progress, places


@click.command()
def healthy() -> int:
    """Exit 0 while the daemon works, else 1 (a health check)."""
    last = last_progress(os.environ)
    if last is None:
        looked = ", ".join(str(path) for path in places(os.environ))
        click.echo(f"not healthy: no daemon has given a sign of life (no {looked})")
        return 1
    path, age = last
    if abs(age) > OLDEST:
        click.echo(f"not healthy: the daemon's last sign of life ({path}) is {_told(age)}")
        return 1
    click.echo(f"healthy: a sign of life {max(age, 0):.0f} s ago")
    return 0


def _told(age: float) -> str:
    return f"{age:.0f} s old" if age > 0 else "of the future: the clock was set back"
