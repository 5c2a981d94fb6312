"""A bar on standard error while somebody watches; nothing at all otherwise."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import click


@contextmanager
def progress(label: str, total: int) -> Iterator[Callable[[int], None]]:
    """Gives what to call with every so many that are done."""
    with click.progressbar(
        length=max(total, 1), label=label, file=sys.stderr, show_pos=True, hidden=not sys.stderr.isatty()
    ) as bar:

        def done(count: int) -> None:
            # More may turn up than was counted before.
            bar.length = max(bar.length or 0, bar.pos + count)
            bar.update(count)

        yield done
