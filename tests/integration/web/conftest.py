from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from visitor import Site, settings_of


@pytest.fixture
async def site(tmp_path: Path, sqlite_url: str) -> AsyncIterator[Site]:
    """A monitor that has polled nothing yet."""
    async with Site(settings_of(tmp_path, sqlite_url)).serve() as one:
        yield one
