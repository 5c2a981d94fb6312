"""A configuration for one test: a file, credentials and an environment."""

from pathlib import Path

import pytest

from monitor.config import Settings, effective_settings, load
from monitor.errors import ConfigError

KEY = "sk-" + "a1B2" * 12
CANARY = "canary8f2c61"
HOME = {"HOME": "/home/nobody"}


class Given:
    """A file, credentials and an environment."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.file = folder / "config.toml"

    def load(self, text: str | None = None, **environ: str) -> Settings:
        if text is not None:
            self.file.write_text(text)
        return load(None if text is None else self.file, HOME | environ)

    def sources(self, text: str | None = None, **environ: str) -> dict[str, tuple[str, str]]:
        """Key → value and source, as `config show` has them."""
        self.load(text, **environ)
        rows = effective_settings(None if text is None else self.file, HOME | environ)
        return {row.key: (row.value, row.source) for row in rows}

    def credentials(self, **files: str) -> dict[str, str]:
        folder = self.folder / "credentials"
        folder.mkdir(exist_ok=True)
        for name, content in files.items():
            (folder / name).write_text(content)
        return {"CREDENTIALS_DIRECTORY": str(folder)}


def mistakes(path: Path | None, environ: dict[str, str]) -> list[str]:
    """What is printed, a line for each mistake."""
    with pytest.raises(ConfigError) as found:
        load(path, HOME | environ)
    assert CANARY not in str(found.value)
    assert found.value.exit_code == 78
    return str(found.value).splitlines()


def in_file(tmp_path: Path, text: str | bytes, environ: dict[str, str] | None = None) -> list[str]:
    """What is printed about a file, without its path."""
    path = tmp_path / "c.toml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return [line.removeprefix(str(path)) for line in mistakes(path, environ or {})]
