"""The glossary speaks of what there is, and the code has no word that the glossary has replaced."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

REPOSITORY = Path(__file__).parents[2]
ROWS = re.findall(r"^\| ([^|]+) \| ", (REPOSITORY / "docs/glossary.md").read_text(), re.MULTILINE)[1:]
# Words of people about the whole, which no single name of the code stands for.
OF_PEOPLE = {"acknowledgement", "dead man's switch", "clear level", "standby", "burn rate"}
REPLACED_CLASSES = {
    *("Teller", "Ledger", "Wish", "Term", "Complaints", "Watch", "Unseen", "Pulse", "Places", "Hold"),
    *("Stretch", "Stretches", "Identity", "AccountPoll", "Forecasts"),
}
REPLACED_MODULES = {
    *("term", "pulse", "outside", "unseen", "notice", "deliver", "silencing", "shares", "listed", "places", "moving"),
    *("replay", "ledger", "watch", "placement", "routes", "complaints", "forecasts", "stretches"),
    *("recording", "identity", "hold", "soundness", "bulk", "kept", "left", "calendar", "periods", "assemble"),
    *("locate", "effective", "mistakes", "wire", "mishaps", "pace", "refusals", "letter", "headlines", "trouble"),
    *("standing", "asking", "running", "examining", "replaying", "journal", "plain", "utils", "common", "helpers"),
}


def snake(name: str) -> str:
    return re.sub(r"([a-z0-9])([A-Z])", r"\1_\2", name).lower()


def modules() -> Iterator[tuple[Path, ast.Module]]:
    for path in (REPOSITORY / "monitor").rglob("*.py"):
        yield path, ast.parse(path.read_text())


def names() -> Iterator[str]:
    """Every name that the code defines or gives a value to, its rooms and modules, and the words of its enums."""
    for path, module in modules():
        yield from (path.stem, path.parent.name)
        for node in ast.walk(module):
            match node:
                case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.ClassDef():
                    yield node.name
                case ast.Name(id=name) | ast.arg(arg=name) | ast.Attribute(attr=name):
                    yield name
                case ast.Constant(value=str(text)) if text.isidentifier():
                    yield text


def test_every_term_of_the_glossary_is_a_name_in_the_code():
    known = " ".join(f"_{snake(name).strip('_')}_" for name in set(names()))
    terms = {term.strip(" *").lower() for row in ROWS for term in row.split(",")} - OF_PEOPLE
    assert len(terms) > 30
    missing = [term for term in terms if f"_{term.replace(' ', '_').replace('-', '_')}_" not in known]
    assert missing == []


def test_no_class_or_module_has_a_name_that_was_replaced():
    classes = {node.name for _, module in modules() for node in ast.walk(module) if isinstance(node, ast.ClassDef)}
    assert classes & REPLACED_CLASSES == set()
    assert {path.stem for path, _ in modules()} & REPLACED_MODULES == set()
