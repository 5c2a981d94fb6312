"""Variables in a description: `{team}` in an address, a header, a body; `{{` is a brace.

What a variable holds cannot leave its place: one segment of a path, one value of a query, one name of a host.
"""

import ipaddress
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import quote, urlsplit

from monitor.text import fits_header

RESERVED: Final = ("key", "uuid", "organization", "base_url")  # filled by the program
_MARK: Final = re.compile(r"\{\{|\}\}|\{([\w.-]+)\}", re.ASCII)
_HOST_NAME: Final = re.compile(r"(?!-)[A-Za-z0-9-]{1,63}(?:\.(?!-)[A-Za-z0-9-]{1,63})*")
_AUTHORITY: Final = re.compile(r"[A-Za-z0-9.-]+(?::[0-9]{1,5})?|\[[0-9A-Fa-f:.]+\](?::[0-9]{1,5})?")
_URL: Final = re.compile(r"(?:(https?)://([^/?#]*)|\{base_url\}(?=[/?]|$))([^?#]*)(?:\?([^#]*))?")
_URL_SIGNS: Final = "%:/?@!$&'()*+,;=~[]-._"

Fill = Mapping[str, str]


class Unusable(ValueError):
    """A variable's value cannot stand where it is used; `name` is the variable's."""

    def __init__(self, name: str, problem: str) -> None:
        super().__init__(f"{{{name}}} {problem}")
        self.name = name


def variables(text: str) -> set[str]:
    """Return the names of the variables in a text."""
    return {name for is_variable, name in _parts(text) if is_variable}


def fill(text: str, values: Fill, *, escape: Callable[[str, str], str] = lambda _, value: value) -> str:
    """Return the text with its variables replaced; `escape` is given name and value."""
    return "".join(escape(part, values[part]) if is_variable else part for is_variable, part in _parts(text))


def _parts(text: str) -> Iterator[tuple[bool, str]]:
    """Yield the parts of a text: whether it is a variable, and its name or the text itself."""
    has_braces = "{{" in text  # else `}}` are two that end what is no variable, as in GraphQL
    end = 0
    for mark in _MARK.finditer(text):
        if mark[0] == "}}" and not has_braces:
            continue
        yield False, text[end : mark.start()]
        yield (True, mark[1]) if mark[1] else (False, mark[0][0])
        end = mark.end()
    yield False, text[end:]


def fill_all(value: Any, values: Fill) -> Any:
    """Return a body with the variables inside its strings replaced."""
    if isinstance(value, str):
        return fill(value, values)
    if isinstance(value, Mapping):
        return {key: fill_all(inner, values) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [fill_all(inner, values) for inner in value]
    return value


def variables_in(value: Any) -> set[str]:
    """Return the names of the variables inside the strings of a body."""
    if isinstance(value, str):
        return variables(value)
    if isinstance(value, Mapping):
        return set[str]().union(*map(variables_in, value.values()))
    if isinstance(value, list | tuple):
        return set[str]().union(*map(variables_in, value))
    return set()


def header_value(name: str, value: str) -> str:
    """Return a value that stands in a header; raise `Unusable` for another."""
    if not value.isascii() or not value.isprintable():
        raise Unusable(name, "is in a header; expected plain letters, digits and signs")
    return value


def user(name: str, value: str) -> str:
    """Return a value that is the user of Basic; raise `Unusable` for another."""
    if ":" in value or not fits_header(value):
        raise Unusable(name, "is the user of Basic; expected letters, digits and signs without a colon")
    return value


# --- addresses --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class UrlTemplate:
    """An address with variables; `scheme` is empty where it begins with {base_url}."""

    scheme: str
    authority: str
    path: str
    query: str | None

    @property
    def host_variables(self) -> set[str]:
        """The variables in its host, which an account's `base_url` replaces."""
        return variables(self.authority)

    @property
    def variables(self) -> set[str]:
        """All its variables, without {base_url}."""
        return self.host_variables | variables(self.path) | variables(self.query or "")

    def origin(self, values: Fill, base_url: str | None) -> str:
        """Return scheme, host and port, of an account's `base_url` where it has one; raise `Unusable`."""
        if base_url is None:
            return f"{self.scheme}://{fill(self.authority, values, escape=_host_name)}"
        parts = urlsplit(base_url)
        return f"{parts.scheme}://{parts.netloc}"

    def fill(self, values: Fill, base_url: str | None) -> str:
        """Return the address for a request; raise `Unusable` for a value that would leave its place."""
        base_path = urlsplit(base_url).path.rstrip("/") if base_url and not self.scheme else ""
        url = self.origin(values, base_url) + base_path + self._path(values)
        if self.query is None:
            return url
        query = fill(_literal(self.query), values, escape=lambda _, value: quote(value, safe=""))
        return f"{url}?{query}"

    def _path(self, values: Fill) -> str:
        return "/".join(_segment(segment, values) for segment in _literal(self.path).split("/"))


def parse_url(written: str) -> UrlTemplate:
    """Return an address with variables; raise `ValueError` that says what was expected."""
    parts = _URL.fullmatch(written)
    if parts is None or " " in written or not written.isprintable():
        raise ValueError('expected an address such as "https://api.example.com/v1/balance", or one with {base_url}/')
    scheme, authority, path, query = parts[1] or "", parts[2] or "", parts[3], parts[4]
    if scheme and not _AUTHORITY.fullmatch(fill(authority, dict.fromkeys(variables(authority), "x"))):
        raise ValueError("has no host that can be asked; expected a name or an address, without user and password")
    if scheme == "http" and not is_this_machine(authority):
        raise ValueError("would send the key unencrypted; expected https:// (http:// only to this machine)")
    inside = variables(authority + path + (query or ""))
    if "key" in inside:
        raise ValueError('holds {key}; expected auth = { query = "…" }, so that no log shows it')
    if "base_url" in inside or variables(authority) & set(RESERVED):
        raise ValueError("{base_url} stands at the beginning alone, and a host has variables of the account's")
    return UrlTemplate(scheme, authority, path, query)


def is_this_machine(authority: str) -> bool:
    """Return whether a host, with or without its port, is this machine."""
    host = urlsplit(f"//{authority}").hostname or ""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _literal(text: str) -> str:
    """Return what stands around the variables as a URL holds it."""
    marks = re.split(r"(\{\{|\}\}|\{[\w.-]+\})", text, flags=re.ASCII)
    return "".join(mark if number % 2 else quote(mark, safe=_URL_SIGNS) for number, mark in enumerate(marks))


def _segment(segment: str, values: Fill) -> str:
    names = [name for is_variable, name in _parts(segment) if is_variable]
    filled = fill(segment, values, escape=_path_value)
    if names and filled in {".", ".."}:
        raise Unusable(names[0], "would lead to another path")
    return filled


def _path_value(name: str, value: str) -> str:
    if not value:
        raise Unusable(name, "is empty, and a part of the path")
    return quote(value, safe="")


def _host_name(name: str, value: str) -> str:
    if not _HOST_NAME.fullmatch(value):
        raise Unusable(name, 'is a part of the host; expected a name such as "eu.example.com"')
    return value
