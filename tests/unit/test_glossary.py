"""The glossary speaks of what there is, and the code has no word that the glossary has replaced."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

REPOSITORY = Path(__file__).parents[2]
ROWS = re.findall(r"^\| ([^|]+) \| ", (REPOSITORY / "docs/glossary.md").read_text(), re.MULTILINE)[1:]
# Words of people about the whole, which no single name of the code stands for.
OF_PEOPLE = {
    *("acknowledgement", "dead man's switch", "no credits", "clear level", "standby", "burn rate", "daily"),
    "carried over",
}
REPLACED = {"Teller", "Ledger", "Wish", "Term", "Complaints", "Watch", "Unseen", "Pulse", "Places", "Hold", "Stretch"}


def names() -> Iterator[str]:
    """Every name that the code defines or gives a value to, and the words of its enums."""
    for path in (REPOSITORY / "monitor").rglob("*.py"):
        yield path.stem
        for node in ast.walk(ast.parse(path.read_text())):
            match node:
                case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.ClassDef():
                    yield node.name
                case ast.Name(id=name) | ast.arg(arg=name) | ast.Attribute(attr=name):
                    yield name
                case ast.Constant(value=str(text)) if text.isidentifier():
                    yield text


def test_every_term_of_the_glossary_is_a_name_in_the_code():
    known = " ".join(re.sub(r"([a-z])([A-Z])", r"\1_\2", name).lower() for name in set(names()))
    terms = {term.strip(" *").lower() for row in ROWS for term in row.split(",")} - OF_PEOPLE
    assert len(terms) > 30
    missing = [term for term in terms if term.replace(" ", "_").replace("-", "_") not in known]
    assert missing == []


def test_no_class_has_a_name_that_was_replaced():
    classes = {
        node.name
        for path in (REPOSITORY / "monitor").rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.ClassDef)
    }
    assert classes & REPLACED == set()
