from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from visitor import Site, settings_of
from wait import LONG

from monitor.web import reader


@pytest.fixture(autouse=True)
def enough_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """However slow the machine, an answer has every forecast."""
    monkeypatch.setattr(reader, "FORECAST_TIME", LONG)


@pytest.fixture
async def site(tmp_path: Path, sqlite_url: str) -> AsyncIterator[Site]:
    """A monitor that has polled nothing yet."""
    async with Site(settings_of(tmp_path, sqlite_url)).serve() as site:
        yield site
