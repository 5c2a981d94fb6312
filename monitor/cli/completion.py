"""`credit-monitor completion SHELL`: what a shell sources, and the names that it completes, from the file.

Reads no secret and no database, and says nothing when the file is wrong: somebody is typing.
"""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
from click.shell_completion import get_completion_class

PROGRAM = "credit-monitor"
VARIABLE = "_CREDIT_MONITOR_COMPLETE"


@click.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> None:
    """Print what completes words in a shell.

    \b
    bash: eval "$(credit-monitor completion bash)"      in ~/.bashrc
    zsh:  eval "$(credit-monitor completion zsh)"       in ~/.zshrc
    fish: credit-monitor completion fish > ~/.config/fish/completions/credit-monitor.fish
    """  # noqa: D301 -- click's mark for lines that stay as they are
    found = get_completion_class(shell)
    assert found is not None  # noqa: S101 -- click has these three
    # Not its `source`, which runs the shell to ask for its version.
    instance = found(click.Command(PROGRAM), {}, PROGRAM, VARIABLE)
    click.echo(instance.source_template % instance.source_vars())


def names_of(*tables: str) -> Callable[[click.Context, click.Parameter, str], list[str]]:
    """Return what completes the names in these tables of the configuration."""

    def complete(context: click.Context, _parameter: click.Parameter, incomplete: str) -> list[str]:
        layers = _layers(context.params.get("config_file"))
        named = {name for layer in layers for table in tables for name in layer.get(table) or {}}
        return sorted(name for name in named if name.startswith(incomplete))

    return complete


def _layers(config_file: Path | None) -> list[dict[str, Any]]:
    from monitor.config import sources  # noqa: PLC0415
    from monitor.errors import MonitorError  # noqa: PLC0415

    try:
        file = sources.find_file(config_file, os.environ)
        return [layer.values for layer in sources.read_layers(file, os.environ)]
    except MonitorError:
        return []


organization_names = names_of("organizations")
channel_names = names_of("channels")
silenced_names = names_of("organizations", "accounts")
