"""SECURITY.md is a promise: each of its lines names a test that is there."""

import re
from pathlib import Path

from security import PAGE, missing, named_targets, named_tests

REPOSITORY = Path(__file__).parents[2]


def rows() -> list[str]:
    section = PAGE.read_text().partition("## What is protected")[2].partition("\n## ")[0]
    return [line for line in section.splitlines() if line.startswith("| ")][1:]


def test_every_line_of_what_is_protected_names_a_test():
    unproven = [row for row in rows() if not named_tests(row.rsplit("|", 2)[1]) + named_targets(row.rsplit("|", 2)[1])]
    assert (len(rows()) > 10, unproven) == (True, [])


def test_every_test_that_is_named_is_there():
    assert missing(PAGE.read_text(), REPOSITORY) == []


def test_a_name_that_is_not_there_would_be_seen():
    for name in ("tests/unit/test_gone.py", "tests/unit/test_security_page.py::test_gone", "make gone"):
        assert missing(f"as `{name}` shows", REPOSITORY) == [name]


def test_what_the_page_says_of_its_links_is_there():
    links = re.findall(r"\]\(((?!http)[^)#]+)", PAGE.read_text())
    assert [link for link in links if not (REPOSITORY / link).exists()] == []
