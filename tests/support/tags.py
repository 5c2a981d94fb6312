"""The parts of a rendered message, and the tags of its HTML."""

from html.parser import HTMLParser

from monitor.model import Message


def vars_of(told: Message) -> tuple[str, str, str, str]:
    return told.subject, told.text, told.markdown, told.html


TAGS = {
    "html",
    "head",
    "meta",
    "style",
    "body",
    "div",
    "p",
    "table",
    "tr",
    "td",
    "b",
}  # and, where there is a link, "a"

ATTRIBUTES = {"class", "style", "lang", "charset", "name", "content", "role", "data-label"}


class Tags(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.seen: set[str] = set()

    def handle_starttag(self, tag, attrs):
        self.seen.add(tag)
