"""The layout of a message, rendered as plain text, Markdown, and HTML for mail clients.

Sentences are templates: foreign words (names, ids, causes) stand in them as `{name}`, and each form quotes them in its
own way.  Everything else in a template is ours.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from html import escape
from types import MappingProxyType
from typing import Final

from monitor.model import Message, Severity

RESOLVED: Final = "#2e7d32"
COLOURS: Final[Mapping[Severity, str]] = {
    Severity.INFO: "#1565c0",
    Severity.WARNING: "#b26a00",
    Severity.CRITICAL: "#b3261e",
}
GREY: Final = "#dadce0"

# Label and value share a cell: mail clients without HTML then show them on one line.
PAGE: Final = """\
<div style="max-width:{width};font:15px/1.5 -apple-system,'Segoe UI',Roboto,Helvetica,Arial,sans-serif;color:#202124">
<div style="padding:12px 16px;background:{colour};color:#ffffff;font-size:17px;font-weight:bold">{subject}</div>
<div style="padding:4px 16px 12px;border:1px solid #dadce0;border-top:0">
{sections}
<p style="margin:12px 0 0;color:#70757a;font-size:12px">{footer}</p>
</div>
</div>
"""
HEADING: Final = (
    '<p style="margin:24px 0 8px;padding-left:10px;border-left:5px solid {colour};font-weight:bold">{heading}</p>'
)
PARAGRAPH: Final = '<p style="margin:12px 0">{}</p>'
ITEM: Final = '<p style="margin:4px 0">{}</p>'
TABLE: Final = '<table style="border-collapse:collapse;width:100%;font-size:14px">\n{}\n</table>'
ROW: Final = (
    '<tr><td style="padding:5px 0;border-top:1px solid #eeeeee">'
    '<span style="display:inline-block;min-width:150px;color:#5f6368">{}:</span> {}</td></tr>'
)
CELL: Final = '<td style="padding:5px 12px 5px 0;border-top:1px solid #eeeeee;text-align:{};{}">{}</td>'
NARROW: Final = "600px"
WIDE: Final = "800px"  # for tables


@dataclass(frozen=True, slots=True)
class Phrase:
    """A template and its foreign words, which are harmless already."""

    template: str
    foreign: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))


@dataclass(frozen=True, slots=True)
class Table:
    """Columns whose heading begins with `>` are figures, set to the right; cells are harmless text, no templates."""

    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Section:
    """A part of a message, from top to bottom; each field may be empty."""

    heading: str = ""
    lead: tuple[str, ...] = ()  # paragraphs
    items: tuple[Phrase, ...] = ()  # a list, each with its own foreign words
    rows: tuple[tuple[str, str], ...] = ()  # label, value
    table: Table | None = None
    colour: str = GREY
    foreign: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))


@dataclass(frozen=True, slots=True)
class Layout:
    """What a message says, in no form yet."""

    subject: Phrase
    sections: tuple[Section, ...]
    footer: Phrase
    colour: str


def lay_out(layout: Layout) -> Message:
    """Return the message in all its forms."""
    text = [*map(_text, layout.sections), _fill(layout.footer, _bare)]
    markdown = [*map(_markdown, layout.sections), _fill(layout.footer, _code)]
    return Message(
        subject=_fill(layout.subject, _bare),
        text="\n\n".join(text) + "\n",
        markdown="\n\n".join(markdown) + "\n",
        html=_html(layout),
    )


def _fill(phrase: Phrase, quote: Callable[[str], str]) -> str:
    return phrase.template.format_map({key: quote(word) for key, word in phrase.foreign.items()})


def _bare(word: str) -> str:
    return word


def _code(word: str) -> str:
    """Return a code span, in which no dialect of Markdown sees emphasis, links or mentions."""
    return f"`{word}`"


def _bold(word: str) -> str:
    return f"<b>{escape(word)}</b>"


# --- plain text and Markdown ------------------------------------------------------------------------------------------


def _text(section: Section) -> str:
    heading = _fill(Phrase(section.heading, section.foreign), _bare)
    rows = (f"{label}: {value}" for label, value in section.rows)
    parts = (
        f"{heading}\n{'-' * min(len(heading), 72)}" if heading else "",
        *(_fill(Phrase(part, section.foreign), _bare) for part in section.lead),
        "\n".join(f"- {_fill(item, _bare)}" for item in section.items),
        _fill(Phrase("\n".join(rows), section.foreign), _bare),
        _aligned(section.table) if section.table else "",
    )
    return "\n\n".join(filter(None, parts))


def _markdown(section: Section) -> str:
    rows = (f"- **{label}**: {value}" for label, value in section.rows)
    parts = (
        f"**{_fill(Phrase(section.heading, section.foreign), _code)}**" if section.heading else "",
        *(_fill(Phrase(part, section.foreign), _code) for part in section.lead),
        "\n".join(f"- {_fill(item, _code)}" for item in section.items),
        _fill(Phrase("\n".join(rows), section.foreign), _code),
        f"```\n{_aligned(section.table)}\n```" if section.table else "",  # chats without tables know code blocks
    )
    return "\n\n".join(filter(None, parts))


def _aligned(table: Table) -> str:
    """Return the table in columns, for a monospaced font."""
    lines = (tuple(column.removeprefix(">") for column in table.columns), *table.rows)
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join("  ".join(_padded(line, widths, table)).rstrip() for line in lines)


def _padded(line: tuple[str, ...], widths: list[int], table: Table) -> list[str]:
    columns = zip(line, widths, table.columns, strict=True)
    return [f"{cell:{'>' if column.startswith('>') else '<'}{width}}" for cell, width, column in columns]


# --- HTML -------------------------------------------------------------------------------------------------------------


def _html(layout: Layout) -> str:
    return PAGE.format(
        width=WIDE if any(section.table for section in layout.sections) else NARROW,
        colour=layout.colour,
        subject=_filled_html(layout.subject),
        sections="\n".join(map(_html_section, layout.sections)),
        footer=_filled_html(layout.footer),
    )


def _filled_html(phrase: Phrase, quote: Callable[[str], str] = escape) -> str:
    return _fill(Phrase(escape(phrase.template), phrase.foreign), quote)


def _html_section(section: Section) -> str:
    heading = _filled_html(Phrase(section.heading, section.foreign))
    parts = [HEADING.format(colour=section.colour, heading=heading)] if heading else []
    parts += [PARAGRAPH.format(_filled_html(Phrase(part, section.foreign), _bold)) for part in section.lead]
    parts += [ITEM.format(_filled_html(item, _bold)) for item in section.items]
    rows = [ROW.format(escape(label), _filled_html(Phrase(value, section.foreign))) for label, value in section.rows]
    parts += [TABLE.format("\n".join(rows))] if rows else []
    parts += [_html_table(section.table)] if section.table else []
    return "\n".join(parts)


def _html_table(table: Table) -> str:
    head = _html_cells(tuple(column.removeprefix(">") for column in table.columns), table, style="color:#5f6368")
    rows = (_html_cells(row, table, style="white-space:nowrap") for row in table.rows)
    return TABLE.format("\n".join((head, *rows)))


def _html_cells(cells: tuple[str, ...], table: Table, *, style: str) -> str:
    sides = ("right" if column.startswith(">") else "left" for column in table.columns)
    written = (CELL.format(side, style, escape(cell)) for side, cell in zip(sides, cells, strict=True))
    return f"<tr>{''.join(written)}</tr>"
