from pathlib import Path

import pytest
from wheel import build_wheel


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, installed in a folder of its own."""
    return build_wheel(tmp_path_factory.mktemp("wheel"))
