"""The daemon's HTTP server: health, readiness and metrics, read only.

It reads through an engine and a thread of its own, so that a request never holds up a poll.  Starlette, uvicorn and
prometheus-client are imported only when `[web]` is configured.
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
    unready: Callable[[], list[str]] = list,
) -> AsyncIterator[None]:
    """Serve while the context is open, if `[web]` is configured; `ListenError` when the address cannot be bound.

    `leading` returns whether this process is the leader; `hanging` returns the part of it that hangs, as the watchdog
    sees it; `unready` what it cannot write.
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
        app = open_app(
            settings.web,
            reader,
            counters,
            token=token,
            clock=clock,
            leading=leading,
            hanging=hanging,
            unready=unready,
        )
        async with listening(app, settings.web):
            yield
    finally:
        reader.close()
