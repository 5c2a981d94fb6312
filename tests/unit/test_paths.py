"""Paths into JSON: what they lead to is what a second implementation of JSONPath finds, and mistakes are told."""

import json
from decimal import Decimal
from typing import Any

import jsonpath
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from monitor.providers.paths import parse_path, parse_terms

NAMES = ["a", "b", "total", "list", "odd name", "left-now", "ü"]
# No true or false: the second implementation compares them as the numbers that they are to Python.
scalars = st.none() | st.integers(-5, 5).map(Decimal) | st.sampled_from(["", "x", "main", "1"])
documents = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(NAMES), inner, max_size=4),
    max_leaves=25,
)


def quoted(name: str) -> str:
    return f"['{name}']" if not name.isidentifier() else f".{name}"


steps = st.one_of(
    st.sampled_from(NAMES).map(quoted),
    st.sampled_from(NAMES).map(lambda name: f'["{name}"]'),
    st.integers(-3, 3).map(lambda index: f"[{index}]"),
    st.sampled_from(["[*]", "[0:2]", "[?@.a]", "[?@.a=='x']", "[?@.b==1]", "[?@.a==null]", "[?@.b>0 && @.a]"]),
    st.sampled_from(["..a", "..list"]),
)


@settings(max_examples=600)
@given(documents, st.lists(steps, min_size=1, max_size=4))
def test_a_path_leads_to_what_a_second_implementation_finds(document: Any, path: list[str]) -> None:
    if path.count("[*]") > 1:
        return
    written = "".join(path)
    expected = [document]
    for step in path:
        # A slice is of a list (RFC 9535); the second implementation cuts texts, too.
        nodes = [node for node in expected if step != "[0:2]" or isinstance(node, list)]
        expected = [found for node in nodes for found in jsonpath.findall(f"$[0]{step}", [node])]
    short = written.removeprefix(".") if not written.startswith("..") else f"${written}"
    for form in (f"${written}", short):
        found = parse_path(form).found(document)
        assert list(map(repr, found)) == list(map(repr, expected)), json.dumps(form)


@pytest.mark.parametrize("written", ["a.b", "$.a.b", "$['a']['b']", "['a'].b", " a.b "])
def test_the_beginning_may_be_left_out(written: str) -> None:
    assert parse_path(written).value({"a": {"b": 1}}) == 1


@pytest.mark.parametrize(
    ("written", "signs"),
    [
        ("a - b + c", "+-+"),
        ("-a - b", "--"),
        ("a[?@.x=='p - q'].v - ['r + s']", "+-"),
        ("a[?@.x>1 && (@.y - 1)]", None),
        ("a - b? + c?", "+-+"),
    ],
)
def test_terms_are_split_at_signs_with_spaces_outside_of_quotes_and_brackets(written: str, signs: str | None) -> None:
    if signs is None:
        with pytest.raises(ValueError, match="is no path"):
            parse_terms(written)
        return
    assert "".join("-" if term.is_negative else "+" for term in parse_terms(written)) == signs


def test_a_question_mark_is_the_last_character_of_a_term() -> None:
    assert [term.is_optional for term in parse_terms("a? - l[?@.x].b + c?")] == [True, False, True]
