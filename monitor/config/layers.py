"""Where settings come from: the file, the credentials directory, the environment; each a layer of plain values.

Reads the file once.  Secret files and credentials of channels and keys stay unread: who needs one reads it.
"""

import os
import re
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any, Final

from monitor.config.locate import line_of, lines_of
from monitor.errors import ConfigError, Mistake

PREFIX: Final = "CREDIT_MONITOR_"
CONFIG_VARIABLE: Final = "CREDIT_MONITOR_CONFIG"
CREDENTIALS: Final = "CREDENTIALS_DIRECTORY"
BY_NAME: Final = ("accounts", "organizations", "channels")

Key = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a value was given; a higher `rank` is stronger."""

    rank: int
    source: str
    file: str | None = None
    line: int | None = None


@dataclass(slots=True)
class Layer:
    """Plain values by path, and where each came from."""

    rank: int
    values: dict[str, Any] = field(default_factory=dict)
    sources: dict[Key, str] = field(default_factory=dict)
    file: str | None = None
    lines: dict[Key, int] = field(default_factory=dict)

    def origin(self, key: Key) -> Origin | None:
        """Where a setting (or the nearest thing that holds it) was given in this layer; None when it was not."""
        for length in range(len(key), 0, -1):
            if key[:length] in self.sources:
                return Origin(self.rank, self.sources[key[:length]])
        if self.file is not None and self._has(key):
            line = line_of(key, self.lines)
            name = Path(self.file).name
            return Origin(self.rank, f"{name}:{line}" if line else name, self.file, line)
        return None

    def _has(self, key: Key) -> bool:
        here: Any = self.values
        for part in key:
            if not isinstance(here, Mapping) or part not in here:
                return False
            here = here[part]
        return True

    def put(self, key: Key, value: Any, source: str) -> None:
        """Add one value."""
        here = self.values
        for part in key[:-1]:
            here = here.setdefault(part, {})
            if not isinstance(here, dict):
                return  # the same name is also given as a whole: that one is validated
        here[key[-1]] = value
        self.sources[key] = source


# --- the file ---------------------------------------------------------------------------------------------------------


def find_file(path: Path | None, environ: Mapping[str, str]) -> Path | None:
    """The configuration file: the one named, else the first of the usual places that is there."""
    if path is not None:
        return path
    if named := environ.get(CONFIG_VARIABLE):
        return Path(named)
    home = environ.get("XDG_CONFIG_HOME") or (environ.get("HOME", "") and f"{environ['HOME']}/.config")
    usual = [Path(home) / "credit-monitor/config.toml"] if home else []
    usual.append(Path("/etc/credit-monitor/config.toml"))
    return next((one for one in usual if os.path.lexists(one)), None)


def file_layer(path: Path) -> Layer:
    """The values of a TOML file; `ConfigError` when it cannot be read or is no TOML."""
    try:
        text = path.read_bytes().decode()
        values = tomllib.loads(text, parse_float=Decimal)
    except OSError as error:
        problem = f"cannot be read: {(error.strerror or type(error).__name__).lower()}"
        raise ConfigError([Mistake("", problem, str(path))]) from None
    except UnicodeDecodeError:
        raise ConfigError([Mistake("", "is not UTF-8 text", str(path))]) from None
    except (tomllib.TOMLDecodeError, RecursionError, ValueError) as error:
        raise ConfigError([_no_toml(path, error)]) from None
    return Layer(1, values, file=str(path), lines=lines_of(text))


def _no_toml(path: Path, error: Exception) -> Mistake:
    """The parser's complaint with its line in front; what stands there may be a secret and is not repeated."""
    place = re.search(r"\(at (?:line (\d+), column (\d+)|end of document)\)", str(error))
    what = re.sub(r"\s*\(at .*\)$", "", str(error)).partition(":")[0] if place else "cannot be understood"
    what = re.sub(r"'[^']*'|\"[^\"]*\"", "…", what)
    line = int(place[1]) if place and place[1] else None
    return Mistake("", f"is not TOML: {what[:1].lower()}{what[1:]}", str(path), line)


# --- credentials and environment --------------------------------------------------------------------------------------


def environment_layer(environ: Mapping[str, str], lower: Iterable[Layer]) -> Layer:
    """`CREDIT_MONITOR_ACCOUNTS__STUDIO__API_KEY` and the like, in any case."""
    layer = Layer(3)
    taken = _names(lower)
    for name, value in environ.items():
        if name.upper().startswith(PREFIX) and name.upper() != CONFIG_VARIABLE:
            layer.put(_path(name, taken), _value(value), f"environment {name}")
    return layer


def credentials_layer(environ: Mapping[str, str], lower: Iterable[Layer]) -> Layer:
    """The files of `$CREDENTIALS_DIRECTORY` that are named like settings; keys and channel URLs as paths, unread."""
    layer = Layer(2)
    folder = environ.get(CREDENTIALS)
    if not folder:
        return layer
    taken = _names(lower)
    try:
        files = sorted(Path(folder).iterdir())
    except OSError as error:
        problem = f"${CREDENTIALS} cannot be read: {(error.strerror or type(error).__name__).lower()}"
        raise ConfigError([Mistake("", problem)]) from None
    for path in files:
        if path.name.upper().startswith(PREFIX):
            _put_credential(layer, _path(path.name, taken), path)
    return layer


def _put_credential(layer: Layer, key: Key, path: Path) -> None:
    source = f"${CREDENTIALS}/{path.name}"
    if key[-1] in {"api_key", "url"} and key[0] in {"accounts", "channels"}:
        layer.put((*key[:-1], f"{key[-1]}_file"), str(path), source)
        return
    try:
        layer.put(key, _value(path.read_text(encoding="utf-8").strip()), source)
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError([Mistake(".".join(key), f"{path}: cannot be read ({type(error).__name__})")]) from None


def _names(layers: Iterable[Layer]) -> dict[tuple[str, str], str]:
    """(table, name as a variable writes it) → the name as the file writes it."""
    return {
        (table, variable_part(name)): name
        for layer in layers
        for table in BY_NAME
        if isinstance(layer.values.get(table), Mapping)
        for name in layer.values[table]
    }


def variable_part(name: str) -> str:
    """A name as it stands in an environment variable, in lower case."""
    return re.sub(r"[-.]", "_", name).lower()


def _path(variable: str, taken: Mapping[tuple[str, str], str]) -> Key:
    parts = variable[len(PREFIX) :].lower().split("__")
    if len(parts) > 1 and parts[0] in BY_NAME:
        parts[1] = taken.get((parts[0], parts[1]), parts[1])
    return tuple(parts)


def _value(written: str) -> Any:
    """The value of a variable: tables and lists as TOML writes them, everything else as it stands."""
    if written.strip()[:1] in {"{", "["}:
        try:
            return tomllib.loads(f"value = {written}", parse_float=Decimal)["value"]
        except (tomllib.TOMLDecodeError, RecursionError):
            return written
    return written
