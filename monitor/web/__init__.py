"""What the daemon tells over HTTP: whether it lives, whether it is ready, and its figures for Prometheus.

Refuses to change anything, to be asked under a foreign name, and to hold up a poll: it reads through an engine of its
own, in a thread of its own.  Starlette, uvicorn and prometheus-client are loaded only when it is switched on.
"""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import datetime

from monitor.config import Settings
from monitor.counters import Counters

__all__ = ["serving"]


@asynccontextmanager
async def serving(
    settings: Settings,
    counters: Counters,
    *,
    clock: Callable[[], datetime],
    leading: Callable[[], bool] = lambda: True,
    hanging: Callable[[], str | None] = lambda: None,
) -> AsyncIterator[None]:
    """Serve meanwhile, if `[web]` says so; `ListenError` when the address cannot be had.

    `leading` says whether this process polls and delivers, or stands by for one that does;
    `hanging` gives the part of it that hangs, as the watchdog sees it.
    """
    if settings.web is None:
        yield
        return
    from monitor.web.pages import open_app  # noqa: PLC0415
    from monitor.web.reader import Reader  # noqa: PLC0415
    from monitor.web.server import listening  # noqa: PLC0415

    token = settings.web_token()
    reader = Reader(settings)
    try:
        app = open_app(settings.web, reader, counters, token=token, clock=clock, leading=leading, hanging=hanging)
        async with listening(app, settings.web):
            yield
    finally:
        reader.close()
