"""The vendors that are built in: whatever a description does not find exactly is an error, for every one of them."""

import copy
import json
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from vendors import CATALOGUE

import monitor
from monitor.errors import FetchError
from monitor.providers.answers import Meaning, parse
from monitor.providers.balances import read_answer
from monitor.providers.description import Description
from monitor.providers.http import Answer
from monitor.providers.paths import parse_path, parse_terms

JSON = {name: made for name, made in CATALOGUE.items() if made.pattern is None}
TEXT = {name: made for name, made in CATALOGUE.items() if made.pattern is not None}
Location = tuple[str | int, ...]


def refuses(made: Description, body: bytes) -> bool:
    try:
        read_answer(made, Answer(200, {}, body), secret="", meaning=Meaning())
    except FetchError:
        return True
    return False


def encoded(value: Any) -> bytes:
    return json.dumps(value, default=lambda number: float(number) if isinstance(number, Decimal) else None).encode()


def sample(made: Description) -> Any:
    return parse(made.samples[0].body.encode())


# --- where what is required stands ------------------------------------------------------------------------------------


def required(made: Description) -> Iterator[Location]:
    """The place of every value that a description cannot do without."""
    answer = sample(made)
    for path in [path for path, _ in made.ok]:
        yield from places(path, answer)
    entries: list[Location] = [()]
    if made.each is not None:
        (each,) = places(made.each, answer)
        yield each
        entries = [(*each, number) for number in range(len(at(answer, each)))]
    for entry in entries:
        for path in inside(made):
            yield from ((*entry, *place) for place in places(path, at(answer, entry)))


def inside(made: Description) -> Iterator[str]:
    if made.id:
        yield made.id
    for figure in made.figures:
        yield from (term.path.written for term in parse_terms(figure.balance) if not term.is_optional)
        yield from (path for path in (figure.unit_path, figure.unlimited) if path)


def places(path: str, answer: Any) -> list[Location]:
    return [node.location for node in parse_path(path).nodes(answer)]


def at(answer: Any, place: Location) -> Any:
    for part in place:
        answer = answer[part]
    return answer


def changed(answer: Any, place: Location, value: Any) -> Any:
    answer = copy.deepcopy(answer)
    if not place:
        return value
    at(answer, place[:-1])[place[-1]] = value
    return answer


def without(answer: Any, place: Location, *, renamed: str | None = None) -> Any:
    answer = copy.deepcopy(answer)
    holder = at(answer, place[:-1])
    value = holder.pop(place[-1])
    if renamed is not None and isinstance(holder, dict):
        holder[renamed] = value
    return answer


# --- mutations --------------------------------------------------------------------------------------------------------


@given(st.data())
def test_a_truncated_answer_is_an_error(data: st.DataObject) -> None:
    made = JSON[data.draw(st.sampled_from(sorted(JSON)))]
    body = made.samples[0].body.encode()
    assert refuses(made, body[: data.draw(st.integers(0, len(body) - 1))])


@given(st.data())
def test_a_required_member_that_is_gone_renamed_retyped_or_wrapped_is_an_error(data: st.DataObject) -> None:
    made = JSON[data.draw(st.sampled_from(sorted(JSON)))]
    answer, place = sample(made), data.draw(st.sampled_from(sorted(required(made), key=str) or [()]))
    if not place:
        return
    value = at(answer, place)
    unlimited = {figure.unlimited for figure in made.figures}
    retyped = [True, False, {}, [], "", "text", "1e5", "NaN", [value], {"value": value}]
    retyped = [each for each in retyped if each is not value]
    retyped += [] if ".".join(map(str, place)) in unlimited else [None]
    if isinstance(value, str) and not value.lstrip("-")[:1].isdigit():  # a word, which another one may replace
        retyped = [each for each in retyped if not isinstance(each, str) or not each] + [17.5]
    for mutant in (
        without(answer, place),
        without(answer, place, renamed=f"{place[-1]}_"),
        *(changed(answer, place, each) for each in retyped),
    ):
        assert refuses(made, encoded(mutant)), mutant


@pytest.mark.parametrize("name", CATALOGUE)
def test_what_stands_instead_of_an_answer_is_an_error(name: str) -> None:
    made = CATALOGUE[name]
    body = made.samples[0].body
    instead = [
        *("", " ", "{}", "[]", "null", "true", '"text"', "NaN", "Infinity", "<html><body>12</body></html>", "OK", "-"),
        *('{"error":"no"}', '{"error":{"message":"no","code":401}}', '{"detail":"no"}', '{"message":"no","code":1}'),
        *('{"success":false,"error":"no"}', '{"errors":[{"message":"no"}]}', '{"data":null}', '{"data":{}}'),
        *(f"[{body}]", f'{{"result":{body}}}', f'{{"data":{body}}}', f"x{body}"),
    ]
    taken = [text for text in instead if not refuses(made, text.encode())]
    assert taken == []


@pytest.mark.parametrize("name", TEXT)
def test_a_text_that_is_cut_off_before_its_number_is_an_error(name: str) -> None:
    made = TEXT[name]
    body = made.samples[0].body
    begin = next(at for at, character in enumerate(body) if character.isdigit())
    assert all(refuses(made, body[:length].encode()) for length in range(begin + 1))


# --- a vendor is a file -----------------------------------------------------------------------------------------------


def test_a_vendor_is_one_file_and_nothing_else_names_it() -> None:
    package = Path(monitor.__file__).parent
    others = {"stability", "runway"}  # is programmed; is a rule, too
    sources = {path: path.read_text() for room in ("providers", "config") for path in (package / room).rglob("*.py")}
    named = {
        (path.name, name)
        for path, text in sources.items()
        for name in CATALOGUE.keys() - others
        if f'"{name}"' in text or f"'{name}'" in text
    }
    assert named == set()
    assert len(CATALOGUE) >= 25


@pytest.mark.parametrize("name", CATALOGUE)
def test_each_file_says_where_its_facts_come_from_and_which_key_it_takes(name: str) -> None:
    made = CATALOGUE[name]
    assert made.source
    assert made.key_help
    assert made.env
    assert made.url is not None
    assert made.url.scheme in {"https", ""}
