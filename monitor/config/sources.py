"""Where settings come from: the file, the credentials directory, the environment; each a layer of plain values.

Reads the file once.  Secrets among the credentials stay unread: who needs one reads it.
"""

import os
import re
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any, Final

from monitor.errors import ConfigError, Mistake

DEEPEST: Final = 6  # organizations.NAME.rules.credits.clear.warning; nothing known lies deeper

_PART: Final = r"""[A-Za-z0-9_-]+|"[^"]*"|'[^']*'"""
_KEY: Final = rf"(?:{_PART})(?:\s*\.\s*(?:{_PART}))*"
_TABLE: Final = re.compile(rf"\s*\[\[?\s*({_KEY})\s*\]\]?")
_SETTING: Final = re.compile(rf"\s*({_KEY})\s*=")

Key = tuple[str, ...]


def lines_of(text: str) -> dict[Key, int]:
    """The first line of every table and setting, and of whatever holds them, by path."""
    found: dict[Key, int] = {}
    table: Key = ()
    for number, line in enumerate(text.split("\n"), start=1):
        if header := _TABLE.match(line):
            table = _parts(header[1])
            found.setdefault(table[:DEEPEST], number)
        elif setting := _SETTING.match(line):
            found.setdefault((table + _parts(setting[1]))[:DEEPEST], number)
    for key, number in list(found.items()):
        for length in range(1, len(key)):
            found.setdefault(key[:length], number)
    return found


def line_of(key: Key, lines: Mapping[Key, int]) -> int | None:
    """The line of a setting, else of what holds it (an inline table); None when nothing of it is there."""
    return next((lines[key[:length]] for length in range(len(key), 0, -1) if key[:length] in lines), None)


def _parts(key: str) -> Key:
    return tuple(part.strip("\"'") for part in re.findall(_PART, key))


PREFIX: Final = "CREDIT_MONITOR_"
CONFIG_VARIABLE: Final = "CREDIT_MONITOR_CONFIG"
KEY_VARIABLE: Final = "STABILITY_API_KEY"
CREDENTIALS: Final = "CREDENTIALS_DIRECTORY"
BY_NAME: Final = ("accounts", "organizations", "channels")
SECRETS: Final = {  # the first and the last part of their keys
    ("accounts", "api_key"),
    ("channels", "url"),
    ("heartbeat_url", "heartbeat_url"),
    ("web", "token"),
}
NOT_TOML: Final = (ValueError, ArithmeticError, RecursionError)  # what tomllib and Decimal raise over a stranger's text


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a value was given; a higher `rank` is stronger."""

    rank: int
    place: str  # the file's path, or the variable
    line: int | None = None
    folder: Path | None = None  # where relative paths begin; None: where the program was started

    @property
    def source(self) -> str:
        """The place in short."""
        if self.folder is None:
            return self.place
        return Path(self.place).name + (f":{self.line}" if self.line else "")


@dataclass(slots=True)
class Layer:
    """Plain values by path, and where each came from: a line of `file`, or a variable."""

    rank: int
    values: dict[str, Any] = field(default_factory=dict, repr=False)
    variables: dict[Key, str] = field(default_factory=dict)
    file: str | None = None
    lines: Mapping[Key, int] = field(default_factory=dict)

    def origin(self, key: Key) -> Origin | None:
        """Where a setting or a table was given in this layer; None when it was not."""
        if not self._has(key):
            return None
        if self.file is not None:
            return Origin(self.rank, self.file, line_of(key, self.lines), Path(self.file).absolute().parent)
        holding = (self.variables[key[:n]] for n in range(len(key), 0, -1) if key[:n] in self.variables)
        within = (name for given, name in self.variables.items() if given[: len(key)] == key)
        return Origin(self.rank, next(holding, None) or next(within))

    def _has(self, key: Key) -> bool:
        here: Any = self.values
        for part in key:
            if not isinstance(here, Mapping) or part not in here:
                return False
            here = here[part]
        return True

    def put(self, key: Key, value: Any, variable: str) -> None:
        """Add one value."""
        here = self.values
        for part in key[:-1]:
            here = here.setdefault(part, {})
            if not isinstance(here, dict):
                return  # what should be a table was given as a value: that one is refused
        here[key[-1]] = value
        self.variables[key] = variable


def merged(layers: Sequence[Layer]) -> dict[str, Any]:
    """The values of layers, the strongest first, laid over each other; a rule given whole replaces all of it."""
    result: dict[str, Any] = {}
    for layer in reversed(layers):
        _lay_over(result, layer.values, (), layer.variables)
    return result


def _lay_over(below: dict[str, Any], above: Mapping[str, Any], place: Key, whole: Mapping[Key, str]) -> None:
    for name, value in above.items():
        key = (*place, name)
        if not isinstance(value, Mapping) or len(key) > DEEPEST:
            below[name] = value
            continue
        is_rule_replaced = "rules" in place and key in whole
        if is_rule_replaced or not isinstance(below.get(name), dict):
            below[name] = {}
        _lay_over(below[name], value, key, whole)


# --- the file ---------------------------------------------------------------------------------------------------------


def find_file(path: Path | None, environ: Mapping[str, str]) -> Path | None:
    """The configuration file: the one named, else the first of the usual places that is there."""
    if path is not None:
        return path
    if named := environ.get(CONFIG_VARIABLE):
        return Path(named)
    usual = [Path("/etc/credit-monitor/config.toml")]
    if base := base_directory(environ, "XDG_CONFIG_HOME", ".config"):
        usual.insert(0, base / "credit-monitor/config.toml")
    return next((one for one in usual if os.path.lexists(one)), None)


def base_directory(environ: Mapping[str, str], variable: str, below_home: str) -> Path | None:
    """A directory as the XDG specification has it, which ignores relative ones."""
    if (named := Path(environ.get(variable, ""))).is_absolute():
        return named
    return Path(home) / below_home if (home := environ.get("HOME")) else None


def file_layer(path: Path) -> Layer:
    """The values of a TOML file; `ConfigError` when it cannot be read or is no TOML."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ConfigError([Mistake("", unreadable(error), str(path))]) from None
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise ConfigError([Mistake("", "is not UTF-8 text", str(path), line)]) from None
    try:
        values = tomllib.loads(text, parse_float=Decimal)
    except NOT_TOML as error:
        raise ConfigError([_no_toml(path, error, last=len(text.splitlines()))]) from None
    return Layer(1, values, file=str(path), lines=lines_of(text))


def unreadable(error: OSError) -> str:
    """Why a file cannot be read."""
    return f"cannot be read: {(error.strerror or type(error).__name__).lower()}"


def _no_toml(path: Path, error: Exception, *, last: int) -> Mistake:
    """The parser's complaint with its line in front; what stands there may be a secret and is not repeated."""
    place = re.search(r"\(at (?:line (\d+), column \d+|end of document)\)", str(error))
    if place is None:
        return Mistake("", "is not TOML: a value is too large or too deep", str(path))
    what = str(error)[: place.start()].strip().partition(":")[0]
    what = re.sub(r"\(.*\)|'[^']{2,}'|\"[^\"]{2,}\"", "…", what)
    return Mistake("", f"is not TOML: {what[:1].lower()}{what[1:]}", str(path), int(place[1] or last))


# --- credentials and environment --------------------------------------------------------------------------------------


def environment_layer(environ: Mapping[str, str], lower: Iterable[Layer]) -> Layer:
    """`CREDIT_MONITOR_ACCOUNTS__STUDIO__API_KEY` and the like, in any case."""
    layer = Layer(3)
    taken = _names(lower)
    for name in sorted(environ):
        if name.upper().startswith(PREFIX) and name.upper() != CONFIG_VARIABLE:
            layer.put(_path(name, taken), _value(environ[name]), f"environment {name}")
    return layer


def credentials_layer(environ: Mapping[str, str], lower: Iterable[Layer]) -> Layer:
    """The files of `$CREDENTIALS_DIRECTORY` that are named like settings; secrets as paths, unread."""
    layer = Layer(2)
    folder = environ.get(CREDENTIALS)
    if not folder:
        return layer
    taken = _names(lower)
    try:
        files = sorted(Path(folder).iterdir())
    except OSError as error:
        raise ConfigError([Mistake("", unreadable(error), f"${CREDENTIALS}")]) from None
    for path in files:
        if path.name.upper().startswith(PREFIX):
            _put_credential(layer, _path(path.name, taken), path)
    return layer


def _put_credential(layer: Layer, key: Key, path: Path) -> None:
    place = f"${CREDENTIALS}/{path.name}"
    if (key[0], key[-1]) in SECRETS:
        layer.put((*key[:-1], f"{key[-1]}_file"), str(path), place)
        return
    try:
        layer.put(key, _value(path.read_text(encoding="utf-8").strip()), place)
    except OSError as error:
        raise ConfigError([Mistake(".".join(key), unreadable(error), place)]) from None
    except UnicodeDecodeError:
        raise ConfigError([Mistake(".".join(key), "is not UTF-8 text", place)]) from None


def key_alone(key: str) -> Layer:
    """The working configuration that is nothing but a key."""
    layer = Layer(0)
    layer.put(("accounts", "default", "api_key"), key, f"environment {KEY_VARIABLE}")
    layer.put(("accounts", "default", "organizations"), "all", f"environment {KEY_VARIABLE}")
    return layer


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


def variable(key: Key) -> str:
    """The environment variable (and credential) of a setting."""
    return PREFIX + "__".join(map(variable_part, key)).upper()


def _path(name: str, taken: Mapping[tuple[str, str], str]) -> Key:
    parts = _decodable(name[len(PREFIX) :]).lower().split("__")
    if len(parts) > 1 and parts[0] in BY_NAME:
        parts[1] = taken.get((parts[0], parts[1]), parts[1])
    return tuple(parts)


def _value(written: str) -> Any:
    """The value of a variable: tables and lists as TOML writes them, everything else as it stands."""
    if written.strip()[:1] in {"{", "["}:
        try:
            return tomllib.loads(f"value = {_decodable(written)}", parse_float=Decimal)["value"]
        except NOT_TOML:
            return written
    return written


def _decodable(text: str) -> str:
    """Text of the environment without bytes that are no UTF-8, which Python keeps as surrogates."""
    return text.encode(errors="replace").decode()
