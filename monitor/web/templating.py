"""Templates and the files beside them, which are served under a name with their hash."""

import hashlib
import mimetypes
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from functools import cache
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote, urlencode
from zoneinfo import ZoneInfo

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from monitor.message import format_duration
from monitor.rows.encode import format_figure, format_instant
from monitor.text import mask

HERE: Final = Path(__file__).parent
LONGEST: Final = 300  # characters of foreign text
NONE: Final = "\u2013"  # in the place of what is not known
UNIT: Final = "credits"  # where a row does not say another
KINDS: Final = {".js": "text/javascript; charset=utf-8", ".css": "text/css; charset=utf-8", ".svg": "image/svg+xml"}


@dataclass(frozen=True, slots=True)
class Asset:
    """A file that is served as it is."""

    name: str  # with its hash: uPlot.iife.min-19c8d4c6ad88.js
    kind: str
    body: bytes


@cache
def assets() -> Mapping[str, Asset]:
    """Return the files of `static/`, by their own name."""
    files = (path for path in sorted((HERE / "static").iterdir()) if path.suffix in KINDS)
    return {path.name: _asset(path) for path in files}


def _asset(path: Path) -> Asset:
    body = path.read_bytes()
    mark = hashlib.sha256(body).hexdigest()[:12]
    return Asset(f"{path.stem}-{mark}{path.suffix}", KINDS.get(path.suffix) or str(mimetypes.guess_type(path)[0]), body)


@cache
def environment() -> Environment:
    """Return the environment of the templates: everything is escaped, and what is missing is an error."""
    made = Environment(
        loader=FileSystemLoader(HERE / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,
    )
    made.filters |= {"foreign": foreign, "figure": figure, "length": len, "lasting": format_duration}
    return made


@dataclass(frozen=True, slots=True)
class Words:
    """What templates say with: instants in a zone, links below a prefix."""

    zone: ZoneInfo
    prefix: str
    now: datetime

    def time(self, at: datetime | None) -> Markup | str:
        """Return an instant for people and programs: its time today, else its date and time."""
        if at is None:
            return NONE
        local, today = at.astimezone(self.zone), self.now.astimezone(self.zone).date()
        shown = f"{local:%H:%M}" if local.date() == today else f"{local:%Y-%m-%d %H:%M}"
        return Markup('<time datetime="{}">{}</time>').format(format_instant(at), shown)

    def age(self, at: datetime | None) -> Markup | str:
        """Return how long ago an instant is."""
        if at is None:
            return "never"
        ago = format_duration(self.now - at) if (self.now - at).total_seconds() >= 60 else "now"  # noqa: PLR2004
        return Markup('<time datetime="{}">{}</time>').format(format_instant(at), ago)

    def link(self, path: str, **query: Any) -> str:
        """Return the link to a page; what is None is left out."""
        given = {key.rstrip("_"): value for key, value in query.items() if value not in (None, "")}
        return self.prefix + path + (f"?{urlencode(given)}" if given else "")

    def organization(self, name: str, **query: Any) -> str:
        """Return the link to the page of an organization, whatever its name holds."""
        return self.link(f"/organizations/{quote(name, safe='')}", **query)

    def asset(self, name: str) -> str:
        """Return the link to a file of `static/`."""
        return f"{self.prefix}/static/{assets()[name].name}"


def foreign(text: str | None, longest: int = LONGEST) -> str:
    """Return foreign text on one line, without what cannot be printed, cut where it is very long."""
    line = mask(text or "")
    return line if len(line) <= longest else f"{line[: longest - 1]}…"


def figure(value: Decimal | None) -> str:
    """Return an amount as tables of commands have it."""
    return NONE if value is None else format_figure(value)


def render(template: str, words: Words, **context: Any) -> bytes:
    """Return a page."""
    return environment().get_template(template).render({"words": words, "unit": UNIT} | context).encode()
