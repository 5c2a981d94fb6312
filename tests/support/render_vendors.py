"""Writes the table of vendors into `docs/vendors.md`.  Run it after a change of the catalogue; a test compares."""

import re
from collections.abc import Iterator
from pathlib import Path

from monitor.config.vendors import built_in, built_in_names, built_in_text
from monitor.providers.description import Description

PAGE = Path(__file__).parents[2] / "docs" / "vendors.md"
BEGIN, END = "<!-- vendors: begin -->\n", "<!-- vendors: end -->\n"


def rendered() -> str:
    """The page with the table of today's catalogue."""
    page = PAGE.read_text()
    head, rest = page.split(BEGIN)
    return head + BEGIN + "\n".join(_lines()) + "\n" + END + rest.split(END)[1]


def _lines() -> Iterator[str]:
    yield "| provider | what | unit | variable, vars | where the facts come from |"
    yield "|---|---|---|---|---|"
    for name in built_in_names():
        made = built_in(name)
        unit, source = made.unit or "as answered", _source(made.source or "")
        yield f"| `{name}` | {_title(name)} | {unit} | {_needs(made)} | {source} |"


def _title(name: str) -> str:
    """The first line of its file."""
    return built_in_text(name).partition("\n")[0].removeprefix("# ").removesuffix(".").replace("{", "\\{")


def _needs(made: Description) -> str:
    names = [f"`{made.env}`"] if made.env else []
    return ", ".join([*names, *(f"`{variable}`" for variable in sorted(made.variables))]) or "none"


def _source(source: str) -> str:
    return re.sub(r"https://[^\s)]+", lambda url: f"<{url[0]}>", source)


if __name__ == "__main__":
    PAGE.write_text(rendered())
