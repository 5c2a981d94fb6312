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

# Colours stand in each element, for many mail clients drop the style sheet; those that do not have dark ones there.
PAGE: Final = """\
<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<meta name="color-scheme" content="light dark">
<meta name="supported-color-schemes" content="light dark">
<style>
@media (prefers-color-scheme: dark) {{
.page {{ background: #1b1c1e !important; color: #e8eaed !important; }}
.grey {{ color: #a6abb2 !important; }}
.line {{ border-color: #45484d !important; }}
}}
@media (max-width: 480px) {{
.page {{ padding: 0 !important; }}
.head {{ display: none; }}
.figures td {{ display: inline-block; border: 0 !important; padding: 0 12px 4px 0 !important; }}
.figures td:first-child {{ display: block; font-weight: bold; padding-top: 6px !important; }}
.figures td:not(:first-child):before {{ content: attr(data-label) " "; color: #80868b; }}
}}
</style>
</head>
<body class="page" style="margin:0;padding:8px;background:#ffffff;color:#202124">
<div style="max-width:{width};margin:0 auto;font:15px/1.45 -apple-system,'Segoe UI',Roboto,Helvetica,Arial,sans-serif">
<div style="padding:12px 16px;background:{colour};color:#ffffff;font-size:17px;font-weight:bold;\
overflow-wrap:anywhere">{subject}</div>
<div class="line" style="padding:4px 16px 12px;border:1px solid #dadce0;border-top:0">
{sections}
<p class="grey" style="margin:16px 0 0;color:#5f6368;font-size:12px;overflow-wrap:anywhere">{footer}</p>
</div>
</div>
</body>
</html>
"""
HEADING: Final = (
    '<p style="margin:24px 0 8px;padding-left:10px;border-left:5px solid {colour};font-weight:bold;'
    'overflow-wrap:anywhere">{heading}</p>'
)
PARAGRAPH: Final = '<p style="margin:12px 0;overflow-wrap:anywhere">{}</p>'
ITEM: Final = '<p style="margin:4px 0;overflow-wrap:anywhere">{}</p>'
BUTTON: Final = (
    '<p style="margin:12px 0"><a href="{url}" style="display:inline-block;padding:8px 18px;background:#1a63c7;'
    'color:#ffffff;font-weight:bold;text-decoration:none;border-radius:4px">{label}</a></p>'
)
TABLE: Final = '<table role="presentation" style="border-collapse:collapse;width:100%;font-size:14px">\n{}\n</table>'
LABEL: Final = (
    '<td class="grey line" style="padding:5px 12px 5px 0;border-top:1px solid #e3e5e8;color:#5f6368;'
    'vertical-align:top;white-space:nowrap">{}</td>'
)
VALUE: Final = (
    '<td class="line" style="padding:5px 0;border-top:1px solid #e3e5e8;width:100%;vertical-align:top;'
    'overflow-wrap:anywhere">{}</td>'
)
ROW: Final = f"<tr>{LABEL}{VALUE}</tr>"
# On a telephone the cells of a row stand below its first one, each behind its label; where that is not understood, a
# wide table is moved sideways.
FIGURES: Final = (
    '<div style="overflow-x:auto"><table class="figures" '
    'style="border-collapse:collapse;width:100%;font-size:14px">\n{}\n</table></div>'
)
CELL: Final = (
    '<td class="{look}" data-label="{label}" style="padding:5px 12px 5px 0;border-top:1px solid #e3e5e8;'
    'text-align:{side};white-space:nowrap{colour}">{cell}</td>'
)
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


@dataclass(frozen=True, slots=True)
class Link:
    """Where something can be done: a button where there are some.  Nothing in it is foreign."""

    label: str
    url: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Section:
    """A part of a message, from top to bottom; each field may be empty."""

    heading: str = ""
    lead: tuple[str, ...] = ()  # paragraphs
    items: tuple[Phrase, ...] = ()  # a list, each with its own foreign words
    rows: tuple[tuple[str, str], ...] = ()  # label, value
    link: Link | None = None
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
    mail_subject: Phrase | None = None  # None: the same


def lay_out(layout: Layout) -> Message:
    """Return the message in all its forms."""
    text = [*map(_text, layout.sections), _fill(layout.footer, _bare)]
    markdown = [*map(_markdown, layout.sections), _fill(layout.footer, _code)]
    return Message(
        subject=_fill(layout.subject, _bare),
        text="\n\n".join(text) + "\n",
        markdown="\n\n".join(markdown) + "\n",
        html=_html(layout),
        mail_subject=_fill(layout.mail_subject, _bare) if layout.mail_subject else "",
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
        *_paragraphs(section, _bare),
        "\n".join(f"- {_fill(item, _bare)}" for item in section.items),
        _fill(Phrase("\n".join(rows), section.foreign), _bare),
        _aligned(section.table) if section.table else "",
    )
    return "\n\n".join(filter(None, parts))


def _markdown(section: Section) -> str:
    rows = (f"- **{label}**: {value}" for label, value in section.rows)
    parts = (
        f"**{_fill(Phrase(section.heading, section.foreign), _code)}**" if section.heading else "",
        *_paragraphs(section, _code),
        "\n".join(f"- {_fill(item, _code)}" for item in section.items),
        _fill(Phrase("\n".join(rows), section.foreign), _code),
        f"```\n{_aligned(section.table)}\n```" if section.table else "",  # chats without tables know code blocks
    )
    return "\n\n".join(filter(None, parts))


def _paragraphs(section: Section, quote: Callable[[str], str]) -> list[str]:
    """Return the paragraphs; the link is a line of the last one."""
    paragraphs = [_fill(Phrase(part, section.foreign), quote) for part in section.lead]
    if section.link:
        paragraphs[-1:] = ["\n".join((*paragraphs[-1:], f"{section.link.label}: {section.link.url}"))]
    return paragraphs


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
    if section.link:
        parts.append(BUTTON.format(url=escape(section.link.url), label=escape(section.link.label)))
    parts += [ITEM.format(_filled_html(item, _bold)) for item in section.items]
    rows = [ROW.format(escape(label), _filled_html(Phrase(value, section.foreign))) for label, value in section.rows]
    parts += [TABLE.format("\n".join(rows))] if rows else []
    parts += [_html_table(section.table)] if section.table else []
    return "\n".join(parts)


def _html_table(table: Table) -> str:
    head = _html_row(tuple(column.removeprefix(">") for column in table.columns), table, is_head=True)
    return FIGURES.format("\n".join((head, *(_html_row(row, table) for row in table.rows))))


def _html_row(cells: tuple[str, ...], table: Table, *, is_head: bool = False) -> str:
    look, colour = ("grey line", ";color:#5f6368") if is_head else ("line", "")
    written = (
        CELL.format(
            look=look,
            label=escape(column.removeprefix(">")),
            side="right" if column.startswith(">") else "left",
            colour=colour,
            cell=escape(cell),
        )
        for column, cell in zip(table.columns, cells, strict=True)
    )
    opened = '<tr class="head">' if is_head else "<tr>"
    return f"{opened}{''.join(written)}</tr>"
