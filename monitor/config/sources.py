"""Where settings come from: the file, the credentials directory, the environment; each a layer of plain values.

The file is read once.  Secrets among the credentials stay unread until somebody needs them.
"""

import logging
import re
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any, Final

from monitor.config.schema import BY_NAME, SECRETS, Key
from monitor.config.secrets import CREDENTIALS, is_quoted, open_regular, unreadable
from monitor.errors import ConfigError, Mistake

DEEPEST: Final = 7  # accounts.NAME.rules.credits.USD.clear.warning; nothing known lies deeper
PREFIX: Final = "CREDIT_MONITOR_"
CONFIG_VARIABLE: Final = "CREDIT_MONITOR_CONFIG"
KEY_VARIABLE: Final = "STABILITY_API_KEY"
SECRETS_OF_CONTAINER: Final = Path("/run/secrets")  # made with the first secret; our image names it
PROVIDERS_VARIABLE: Final = "CREDIT_MONITOR_PROVIDERS"  # vendors whose own variables hold the keys
QUOTED: Final = "is in quotes, which are part of a value here; write it without them"
# What Kubernetes sets in every container for a service whose name begins with credit-monitor.
SERVICE_LINK: Final = re.compile(
    r"CREDIT_MONITOR_(?:(?:(?!__)\w)+_)?"
    r"(?:SERVICE_HOST|SERVICE_PORT(?:_(?:(?!__)\w)+)?|PORT|PORT_[0-9]+_(?:TCP|UDP|SCTP)(?:_(?:PROTO|PORT|ADDR))?)"
)
NOT_TOML: Final = (ValueError, ArithmeticError, RecursionError)  # what tomllib and Decimal raise

log = logging.getLogger(__name__)


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
    folder: Path | None = None  # of `file`
    quoted: list[Key] = field(default_factory=list)  # those whose value is in quotes that do not belong there

    def origin(self, key: Key) -> Origin | None:
        """Return where a setting or a table was given in this layer; None when it was not."""
        if not self._has(key):
            return None
        if self.file is not None:
            return Origin(self.rank, self.file, line_of(key, self.lines), self.folder)
        prefixes = (key[:length] for length in range(len(key), 0, -1))
        holding = (self.variables[prefix] for prefix in prefixes if prefix in self.variables)
        within = (name for given, name in self.variables.items() if given[: len(key)] == key)
        return Origin(self.rank, next(holding, None) or next(within))

    def _has(self, key: Key) -> bool:
        here: Any = self.values
        for part in key:
            if not isinstance(here, Mapping) or part not in here:
                return False
            here = here[part]
        return True

    def put_text(self, key: Key, written: str, variable: str) -> None:
        """Add what a variable or a credential holds."""
        text = written.strip()
        if is_quoted(text):
            self.quoted.append(key)
        self.put(key, _value(text), variable)

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
    """Return the values of layers, the strongest first, laid over each other; a rule given whole replaces all of it."""
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


def read_layers(file: Path | None, environ: Mapping[str, str]) -> list[Layer]:
    """Return every layer, the strongest first; raise `ConfigError` when one cannot be read."""
    layers = [file_layer(file)] if file else []
    if named := [name.strip() for name in environ.get(PROVIDERS_VARIABLE, "").split(",") if name.strip()]:
        layers.append(named_vendors(named))
    layers.insert(0, credentials_layer(environ, layers))
    layers.insert(0, environment_layer(environ, layers))
    if named:  # whoever names vendors names all whose key is taken
        return layers
    if _is_without_account(layers):
        if key := environ.get(KEY_VARIABLE, "").strip():
            layers.append(key_alone(f"environment {KEY_VARIABLE}", api_key=key))
        elif path := _key_among_credentials(environ):
            layers.append(key_alone(f"${CREDENTIALS}/{path.name}", api_key_file=str(path)))
    return layers


def _is_without_account(layers: Sequence[Layer]) -> bool:
    """Return whether no file names an account, and variables none but `default`, which they may refine."""
    named = [(layer.file, layer.values.get("accounts") or {}) for layer in layers]
    return not any(accounts if file else set(accounts) - {"default"} for file, accounts in named)


# --- the file ---------------------------------------------------------------------------------------------------------


def find_file(path: Path | None, environ: Mapping[str, str]) -> Path | None:
    """Return the configuration file: the one named, else the first of the usual places that is there."""
    if path is not None:
        return path
    if named := environ.get(CONFIG_VARIABLE, "").strip():
        return Path(named)
    usual = [Path("/etc/credit-monitor/config.toml")]
    if base := base_directory(environ, "XDG_CONFIG_HOME", ".config"):
        usual.insert(0, base / "credit-monitor/config.toml")
    return next((path for path in usual if _may_be_there(path)), None)


def _may_be_there(path: Path) -> bool:
    """Return whether there is a file, also where this user may not look."""
    try:
        path.lstat()
    except PermissionError:
        return True
    except OSError:
        return False
    return True


def base_directory(environ: Mapping[str, str], variable: str, below_home: str) -> Path | None:
    """Return a directory as the XDG specification has it, which ignores relative ones."""
    if (named := Path(environ.get(variable, ""))).is_absolute():
        return named
    return Path(home) / below_home if (home := environ.get("HOME")) else None


def file_layer(path: Path) -> Layer:
    """Return the values of a TOML file; raise `ConfigError` when it cannot be read or is no TOML."""
    try:
        with open_regular(path) as source:
            content = source.read()
    except OSError as error:
        raise ConfigError([Mistake("", unreadable(error, path), str(path))]) from None
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise ConfigError([Mistake("", "is not UTF-8 text", str(path), line)]) from None
    try:
        values = tomllib.loads(text, parse_float=Decimal)
    except NOT_TOML as error:
        raise ConfigError([_no_toml(path, error, last=len(text.splitlines()))]) from None
    return Layer(1, values, file=str(path), lines=lines_of(text), folder=path.absolute().parent)


def _no_toml(path: Path, error: Exception, *, last: int) -> Mistake:
    """Return the parser's error with its line; what stands there may be a secret and is not repeated."""
    place = re.search(r"\(at (?:line (\d+), column \d+|end of document)\)", str(error))
    if place is None:
        return Mistake("", "is not TOML: a value is too large or too deep", str(path))
    what = str(error)[: place.start()].strip().partition(":")[0]
    what = re.sub(r"\(.*\)|'[^']{2,}'|\"[^\"]{2,}\"", "…", what)
    return Mistake("", f"is not TOML: {what[:1].lower()}{what[1:]}", str(path), int(place[1] or last))


_PART: Final = r"""[A-Za-z0-9_-]+|"[^"]*"|'[^']*'"""
_KEY: Final = rf"(?:{_PART})(?:\s*\.\s*(?:{_PART}))*"
_TABLE: Final = re.compile(rf"\s*\[\[?\s*({_KEY})\s*\]\]?")
_SETTING: Final = re.compile(rf"\s*({_KEY})\s*=")


def lines_of(text: str) -> dict[Key, int]:
    """Return the first line of every table and setting, and of whatever holds them, by key."""
    lines: dict[Key, int] = {}
    table: Key = ()
    for number, line in enumerate(text.split("\n"), start=1):
        if (header := table_of(line)) is not None:
            table = header
            lines.setdefault(table[:DEEPEST], number)
        elif setting := _SETTING.match(line):
            lines.setdefault((table + _parts(setting[1]))[:DEEPEST], number)
    for key, number in list(lines.items()):
        for length in range(1, len(key)):
            lines.setdefault(key[:length], number)
    return lines


def table_of(line: str) -> Key | None:
    """Return the key of the table that a line begins; None when it begins none."""
    header = _TABLE.match(line)
    return _parts(header[1]) if header else None


def line_of(key: Key, lines: Mapping[Key, int]) -> int | None:
    """Return the line of a setting, else of what holds it (an inline table); None when nothing of it is there."""
    return next((lines[key[:length]] for length in range(len(key), 0, -1) if key[:length] in lines), None)


def _parts(key: str) -> Key:
    return tuple(part.strip("\"'") for part in re.findall(_PART, key))


# --- credentials and environment --------------------------------------------------------------------------------------


def environment_layer(environ: Mapping[str, str], lower: Iterable[Layer]) -> Layer:
    """Return the values of `CREDIT_MONITOR_ACCOUNTS__STUDIO__API_KEY` and the like, in any case."""
    layer = Layer(3)
    taken = _names(lower)
    names = [name for name in sorted(environ) if name.upper().startswith(PREFIX)]
    names = [name for name in names if name.upper() not in {CONFIG_VARIABLE, PROVIDERS_VARIABLE}]
    links = [name for name in names if SERVICE_LINK.fullmatch(name.upper())]
    if links:
        log.info("ignored, as Kubernetes sets them for a service and they are no settings: %s", ", ".join(links))
    for name in names:
        if name not in links:
            layer.put_text(_path(name, taken), environ[name], f"environment {name}")
    return layer


def credentials_layer(environ: Mapping[str, str], lower: Iterable[Layer]) -> Layer:
    """Return what the files of `$CREDENTIALS_DIRECTORY` named like settings hold; secrets as paths, unread."""
    layer = Layer(2)
    folder = environ.get(CREDENTIALS)
    if not folder:
        return layer
    taken = _names(lower)
    for path in _credentials(folder):
        if path.name.upper().startswith(PREFIX):
            _put_credential(layer, _path(path.name, taken), path)
    return layer


def _credentials(folder: str) -> list[Path]:
    try:
        return sorted(Path(folder).iterdir())
    except OSError as error:
        if isinstance(error, FileNotFoundError) and Path(folder) == SECRETS_OF_CONTAINER:
            return []
        raise ConfigError([Mistake("", unreadable(error, Path(folder)), f"${CREDENTIALS}")]) from None


def _key_among_credentials(environ: Mapping[str, str]) -> Path | None:
    """Return the credential that is named like the key's own variable."""
    files = _credentials(folder) if (folder := environ.get(CREDENTIALS)) else []
    return next((path for path in files if path.name.upper() == KEY_VARIABLE), None)


def _put_credential(layer: Layer, key: Key, path: Path) -> None:
    place = f"${CREDENTIALS}/{path.name}"
    if (key[0], key[-1]) in SECRETS:
        layer.put((*key[:-1], f"{key[-1]}_file"), str(path), place)
        return
    try:
        with open_regular(path) as source:
            layer.put_text(key, source.read().decode("utf-8-sig"), place)
    except OSError as error:
        raise ConfigError([Mistake(".".join(key), unreadable(error, path), place)]) from None
    except UnicodeDecodeError:
        raise ConfigError([Mistake(".".join(key), "is not UTF-8 text", place)]) from None


def named_vendors(names: Sequence[str]) -> Layer:
    """Return an account for each vendor that was named, and named alike; `loader` finds the keys."""
    layer = Layer(0)
    for name in names:
        layer.put(("accounts", name, "provider"), name, f"environment {PROVIDERS_VARIABLE}")
        layer.put(("accounts", name, "organizations"), "all", f"environment {PROVIDERS_VARIABLE}")
    return layer


def key_alone(place: str, **given: str) -> Layer:
    """Return the working configuration that is nothing but a key: `api_key`, or `api_key_file`."""
    layer = Layer(0)
    for name, value in given.items():
        layer.put_text(("accounts", "default", name), value, place)
    layer.put(("accounts", "default", "organizations"), "all", place)
    return layer


def _names(layers: Iterable[Layer]) -> dict[tuple[str, str], str]:
    """Return (table, name as a variable writes it) → the name as the file writes it."""
    return {
        (table, variable_part(name)): name
        for layer in layers
        for table in BY_NAME
        if isinstance(layer.values.get(table), Mapping)
        for name in layer.values[table]
    }


def variable_part(name: str) -> str:
    """Return a name as it stands in an environment variable, in lower case."""
    return re.sub(r"[-.]", "_", name).lower()


def variable(key: Key) -> str:
    """Return the environment variable (and credential) of a setting."""
    return PREFIX + "__".join(map(variable_part, key)).upper()


def _path(name: str, taken: Mapping[tuple[str, str], str]) -> Key:
    parts = _decodable(name[len(PREFIX) :]).lower().split("__")
    if len(parts) > 1 and parts[0] in BY_NAME:
        parts[1] = taken.get((parts[0], parts[1]), parts[1])
    return tuple(parts)


def _value(written: str) -> Any:
    """Return the value of a variable: tables and lists as TOML writes them, everything else as it stands."""
    if written[:1] in {"{", "["}:
        try:
            return tomllib.loads(f"value = {_decodable(written)}", parse_float=Decimal)["value"]
        except NOT_TOML:
            return written
    return written


def _decodable(text: str) -> str:
    """Return text of the environment without bytes that are no UTF-8, which Python keeps as surrogates."""
    return text.encode(errors="replace").decode()
