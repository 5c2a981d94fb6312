"""`[providers.NAME]`: what it can say, what comes out of an answer, and what is said of a mistake in it."""

import tomllib
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from odd_vendors import ODD, URL, Odd

from monitor.config.descriptions import read_description
from monitor.config.vendors import built_in_names, built_in_text
from monitor.errors import FetchError, ProviderUnavailable, UnexpectedAnswer
from monitor.model import Balance
from monitor.providers.answers import Meaning
from monitor.providers.balances import read_answer, read_instant
from monitor.providers.description import Description
from monitor.providers.http import Answer
from monitor.providers.paths import Unreadable, read_number
from monitor.providers.templates import Unusable, fill, parse_url, variables


def described(toml: str) -> Description:
    made, problems = read_description("odd", tables(toml))
    assert problems == []
    return made


def tables(toml: str) -> Any:
    return tomllib.loads(f"[providers.odd]\n{toml}", parse_float=Decimal)["providers"]["odd"]


def read(made: Description, body: str, status: int = 200, **headers: str) -> tuple[Balance, ...]:
    return read_answer(made, Answer(status, headers, body.encode()), secret="sk-secret", meaning=Meaning(made.status))


def reason(toml: str, body: str) -> str:
    with pytest.raises(FetchError) as caught:
        read(described(toml), body)
    return str(caught.value)


# --- what comes out ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("odd", ODD.values(), ids=ODD)
def test_a_vendor_that_nobody_built_in_takes_ten_lines(odd: Odd) -> None:
    found = [(one.id, None if one.unlimited else one.credits, one.unit) for one in read(described(odd.toml), odd.body)]
    assert found == [(id_, amount and Decimal(amount), unit) for id_, amount, unit in odd.expect]


@pytest.mark.parametrize("name", built_in_names())
def test_every_vendor_of_the_catalogue_reads_its_samples(name: str) -> None:
    values = tomllib.loads(built_in_text(name), parse_float=Decimal)["providers"][name]
    made, problems = read_description(name, values)
    assert (problems, bool(made.samples), bool(made.source)) == ([], True, True)
    for sample in made.samples:
        found = [(one.id, None if one.unlimited else one.credits, one.unit) for one in read(made, sample.body)]
        assert found == list(sample.expect)


PLAIN = URL + 'balance = "data.left"\nunit = "USD"'


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("{}", "the answer is empty"),
        ("[]", "the answer is empty"),
        ("", "the answer is empty, where JSON was described"),
        ("null", "data.left: leads nowhere: the answer is null"),
        ("true", "data.left: leads nowhere: the answer is true"),
        ('{"data":{"lft":1,"used":2}}', "data.left: leads nowhere: data has lft, used; did you mean left?"),
        ('{"error":"no"}', "data.left: leads nowhere: the answer has error"),
        ('{"data":[1,2]}', "data.left: leads nowhere: data is a list of 2"),
        ('{"data":{"left":null}}', "data.left: is null, expected a number"),
        ('{"data":{"left":true}}', "data.left: is true, expected a number"),
        ('{"data":{"left":""}}', "data.left: is empty text, expected a number"),
        ('{"data":{"left":"1e5"}}', "data.left: is text that is no number, expected a number"),
        ('{"data":{"left":[1]}}', "data.left: is a list of 1, expected a number"),
        ('{"data":{"left":{}}}', "data.left: is an empty object, expected a number"),
        ('{"data":{"left":1e12}}', "data.left: the answer has more credits than can be"),
        ('{"data":{"left":1e999999999}}', "data.left: the answer has more credits than can be"),
        ('{"data":{"left":NaN}}', "the answer is no JSON, where JSON was described"),
        ('{"data":{"left":1,"left":2}}', "the answer is no JSON, where JSON was described"),
        ("[" * 5000 + "]" * 5000, "the answer is no JSON, where JSON was described"),
    ],
)
def test_whatever_is_no_balance_says_what_it_is(body: str, said: str) -> None:
    assert reason(PLAIN, body) == said.replace("did you mean left?", "did you mean lft?")


def test_a_page_is_a_gateways_for_json_and_text() -> None:
    page = "<!DOCTYPE html><html><body>left=12</body></html>"
    text = URL + 'format = "text"\npattern = \'left=(?P<balance>[0-9]+)\'\nunit = "USD"'
    for toml in (PLAIN, text):
        with pytest.raises(ProviderUnavailable):
            read(described(toml), page)


@pytest.mark.parametrize(
    ("toml", "body", "said"),
    [
        ('each = "l"\nid = "c"\nbalance = "b"\nunit = "USD"', '{"l":[]}', "l: is an empty list"),
        ('each = "l"\nid = "c"\nbalance = "b"\nunit = "USD"', '{"l":{"c":1}}', "l: is no list"),
        ('each = "l"\nid = "c"\nbalance = "b"\nunit = "USD"', '{"l":[{"c":"x","b":1},{"c":"x","b":2}]}', "id x twice"),
        ('each = "l"\nid = "c"\nbalance = "b"\nunit = "USD"', '{"l":[{"c":"x","b":1},{"c":"y"}]}', "l[1]: b: leads"),
        ('each = "l"\nid = "c"\nbalance = "b"\nunit = "USD"', '{"l":[{"c":null,"b":1}]}', "l[0]: c: is no id"),
        ('each = "l"\nid = "c"\nbalance = "b"\nunit = "USD"', '{"l":[{"c":"a sk-secret","b":1}]}', "cannot be kept"),
        ('balance = "l[*].b"\nunit = "USD"', '{"l":[]}', "l[*].b: l is an empty list, expected a list with entries"),
        ('balance = "l[*].b"\nunit = "USD"', '{"l":[{"b":1},{"c":1}]}', "l[*].b: leads nowhere: the entry has c"),
        ('balance = "l[*].b?"\nunit = "USD"', '{"l":[]}', "l[*].b: an empty list"),
        ('balance = "a? + b?"\nunit = "USD"', '{"a":null,"c":1}', "a, b: none of these is there: a is null"),
        ('balance = "a?"\nunit = "USD"', '{"a":"x"}', "a: is text that is no number"),
        ('balance = "l[?@.t==1].b"\nunit = "USD"', '{"l":[{"t":1,"b":1},{"t":1,"b":2}]}', "leads to 2 values"),
        ('balance = "l[?@.t==1].b"\nunit = "USD"', '{"l":[{"t":true,"b":1}]}', "leads nowhere: l is a list of 1"),
        ('balance = "b"\nunit = { path = "u" }', '{"b":1,"v":"USD"}', "u: leads nowhere: the answer has b, v"),
        ('balance = "b"\nunit = { path = "u" }', '{"b":1,"u":"<b>USD"}', "u: is no unit"),
        ('balance = "b"\nunit = { path = "u" }', '{"b":1,"u":5}', "u: is no unit"),
        (
            'balance = "l[*].b"\nunit = { path = "l[*].u" }',
            '{"l":[{"b":1,"u":"USD"},{"b":1,"u":"EUR"}]}',
            "l[*].u: differs from entry to entry",
        ),
        ('balance = "b"\nunit = "USD"\nunlimited = "lim"', '{"b":1}', "lim: leads nowhere: the answer has b"),
        ('balance = "b"\nunit = "USD"\nok = { code = 0 }', '{"b":1,"code":"0"}', "ok: code is not what it has to be"),
        ('balance = "b"\nunit = "USD"\nok = { code = 0 }', '{"b":1,"code":false}', "ok: code is not what it has to be"),
        ('balance = "b"\nunit = "USD"\nok = { s = true }', '{"b":1,"s":1}', "ok: s is not what it has to be"),
        (
            'balance = "b"\nunit = "USD"\nok = { code = 0 }',
            '{"b":1,"code":7,"msg":"x","message":"no sk-secret for you"}',
            "ok: code is not what it has to be; the vendor says: no [redacted] for you",
        ),
        ('balance = "b"\nunit = "USD"\nabsent = ["e"]', '{"b":1,"e":["x"]}', "absent: e is there"),
        ('balance = "b"\nunit = "USD"\nstrip = "$"', '{"b":"$ 1,23"}', "b: is text that is no number"),
        ('balance = "b"\nunit = "USD"', '{"b":"$1"}', "b: is text that is no number"),
        ('balance = "b"\nunit = "USD"', '{"b":"\uff11"}', "b: is text that is no number"),
        ('balance = "b - c"\nunit = "USD"', '{"b":1}', "c: leads nowhere: the answer has b"),
    ],
)  # fmt: skip
def test_strict_reading_names_the_path(toml: str, body: str, said: str) -> None:
    assert said in reason(URL + toml, body)


def test_long_and_hostile_keys_are_named_harmlessly() -> None:
    keys = {f"k{number}\u202e": number for number in range(50)}
    said = reason(PLAIN, '{"data": {' + ", ".join(f'"{key}": 1' for key in keys) + ', "sk-secret": 2}}')
    assert said.isprintable()
    assert "and 31 more" in said
    assert len(said) < 520


@pytest.mark.parametrize(
    ("value", "year"),
    [
        (Decimal(4102444800), 2100),
        (Decimal(4102444800000), 2100),
        ("4102444800", 2100),
        ("2100-01-01T00:00:00Z", 2100),
        ("2100-01-01", 2100),
        ("2100-01-01 00:00:00+00:00", 2100),
        (Decimal(-5), None),
        ("soon", None),
        (True, None),
        ({}, None),
        (Decimal("1e30"), None),
    ],
)
def test_an_instant_is_iso_8601_or_counted_since_1970(value: Any, year: int | None) -> None:
    found = read_instant(value)
    assert (found and found.year) == year


def test_a_period_end_that_cannot_be_read_is_a_note_and_no_failure() -> None:
    made = described(URL + 'balance = "b"\nunit = "USD"\nresets_at = "end"')
    (balance,) = read(made, '{"b":1,"end":"next week"}')
    assert (balance.credits, balance.resets_at) == (Decimal(1), None)
    assert "end: is no instant" in (balance.note or "")
    assert read(made, '{"b":1,"end":null}')[0].note is None


@given(st.decimals(min_value=-(10**11), max_value=10**11, places=6), st.decimals(min_value=0, max_value=10, places=6))
def test_arithmetic_is_exact(total: Decimal, used: Decimal) -> None:
    made = described(URL + 'balance = "total - used"\nunit = "USD"')
    (balance,) = read(made, f'{{"total": {total}, "used": "{used}"}}')
    assert balance.credits == total - used


@pytest.mark.parametrize("text", ["1,000", "1,234,567.5", "0", "007", "-12.50", "12"])
def test_decimal_strings_are_numbers(text: str) -> None:
    assert read_number(text) == Decimal(text.replace(",", ""))


@pytest.mark.parametrize(
    "text", ["1,00", "12,34", "1.000,5", ".5", "5.", "+5", "1e3", "NaN", " 5", "5 ", "--5", "1_000"]
)
def test_other_strings_are_none(text: str) -> None:
    with pytest.raises(Unreadable):
        read_number(text)


# --- mistakes ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("toml", "key", "said"),
    [
        ("balance = 'b'\nunit = 'USD'", "url", "is missing"),
        (URL + "unit = 'USD'", "balance", "is missing"),
        (URL + "balance = 'b'", "unit", "is missing"),
        (URL + "balnce = 'b'\nunit = 'USD'", "balnce", "did you mean balance?"),
        (PLAIN + "\nauth = 'barer'", "auth", 'expected "bearer"'),
        (PLAIN + "\nauth = { heder = 'x' }", "auth.heder", "did you mean header?"),
        (PLAIN + "\nauth = { header = 'a b' }", "auth.header", "expected the name of a header"),
        (PLAIN + "\nauth = { query = 'key', prefix = 'x' }", "auth.prefix", "is for a header alone"),
        (PLAIN + "\nheaders = { X-A = 5 }", "headers.X-A", "expected text"),
        (PLAIN + "\nheaders = { Host = 'x' }", "headers.Host", "is no header that a description can set"),
        (PLAIN + "\nheaders = { authorization = 'x' }", "headers.authorization", "is where auth puts the key"),
        (PLAIN + "\nheaders = { X-A = '{key}' }", "headers.X-A", "holds {key}"),
        (PLAIN + "\njson = { a = 1 }", "json", 'method = "POST"'),
        (PLAIN + "\nmethod = 'POST'\njson = { a = '{key}' }", "json", 'auth = "none"'),
        (PLAIN + "\nmethod = 'POST'\njson = { a = 1 }\nform = { a = 1 }", "form", "stands instead of json"),
        (PLAIN + "\nmethod = 'PUT'", "method", '"GET" or "POST"'),
        (PLAIN + "\nok = { a.b = 1 }", "ok.a", "in quotes"),
        (PLAIN + "\nok = 'a'", "ok", "expected paths"),
        (PLAIN + "\nabsent = 'errors'", "absent", "expected a list of paths"),
        (PLAIN + "\ndivide = 0", "divide", "above 0"),
        (PLAIN + "\ndivide = true", "divide", "above 0"),
        (PLAIN + "\nstatus = { 404 = 'nocredits' }", "status.404", "did you mean no_credits?"),
        (PLAIN + "\nstatus = { 4044 = 'wait' }", "status.4044", "expected an HTTP status"),
        (PLAIN + "\neach = 'l'", "id", "is missing"),
        (PLAIN + "\neach = 'l[*]'\nid = 'x'", "each", "has a [*]"),
        (PLAIN + "\npattern = 'x'", "pattern", 'format = "text"'),
        (PLAIN + "\nrejected = ['x']", "rejected", "expected paths"),
        (PLAIN + "\nevery_min = '30'", "every_min", "has no unit"),
        (PLAIN + "\nrate_limit = '30'", "rate_limit", "expected requests in a time"),
        (PLAIN + "\nenv = 'A B'", "env", "environment variable"),
        (PLAIN + "\ncommand = ['/bin/x']", "command", "stands instead of url"),
        (PLAIN + "\ntest = [{ body = 5 }]", "test.1", "expected { body"),
        (PLAIN + "\ntest = [{ body = '{}', expect = [['', 'x', 'USD']] }]", "test.1.expect", "expected rows"),
        (URL + "balance = 'a +b'\nunit = 'USD'", "balance", "have a space on both sides"),
        (URL + "balance = 'a.odd-name'\nunit = 'USD'", "balance", "['odd-name']"),
        (URL + "balance = 'a[*].b[*]'\nunit = 'USD'", "balance", "more than one [*]"),
        (URL + "balance = 'a - '\nunit = 'USD'", "balance", "is no path"),
        (URL + "balance = 'a'\nunit = { pth = 'x' }", "unit", "{ path"),
        (URL + "balance = 'a'\nunit = { path = 'x[' }", "unit.path", "is no path"),
        (URL + "balance = 'a'\nunit = 'US\u202eD'", "unit", ""),
        (URL + "format = 'text'\nunit = 'USD'", "pattern", "is missing"),
        (URL + "format = 'text'\npattern = 'x'\nunit = 'USD'", "pattern", "(?P<balance>…)"),
        (URL + "format = 'text'\npattern = '(?P<balance>x'\nunit = 'USD'", "pattern", "is no regular expression"),
        (URL + "format = 'text'\npattern = '(?P<balance>x)'", "unit", "is missing"),
        (URL + "format = 'text'\npattern = '(?P<balance>x)(?P<unit>y)'\nunit = 'USD'", "unit", "in pattern, too"),
        (URL + "format = 'text'\npattern = '(?P<balance>x)'\nunit = 'USD'\nbalance = 'b'", "balance", "JSON alone"),
        (URL + "format = 'text'\npattern = '(?P<balance>x)'\nunit = 'USD'\nrejected = { a = 1 }", "rejected", "a list"),
        ("url = 'http://api.example.com/'\nbalance = 'b'\nunit = 'USD'", "url", "unencrypted"),
        ("url = 'https://user@api.example.com/'\nbalance = 'b'\nunit = 'USD'", "url", "without user"),
        ("url = 'https://api.example.com/?k={key}'\nbalance = 'b'\nunit = 'USD'", "url", "query"),
        ("url = 'ftp://api.example.com/'\nbalance = 'b'\nunit = 'USD'", "url", "expected an address"),
        ("url = 'https://api.example.com/{base_url}'\nbalance = 'b'\nunit = 'USD'", "url", "at the beginning alone"),
        ("command = ['balance']\nbalance = 'b'\nunit = 'USD'", "command.1", "absolute path"),
        (
            URL + "balance = 'b'\nunit = 'USD'\norganizations = { url = 'https://evil.org/', each = 'l', id = 'i' }",
            "organizations.url",
            "another host",
        ),
        (
            URL + "balance = 'b'\nunit = 'USD'\norganizations = { url = 'https://api.example.com/p', each = 'l' }",
            "organizations",
            "id is missing",
        ),
    ],
)  # fmt: skip
def test_a_mistake_has_its_key_and_says_what_was_expected(toml: str, key: str, said: str) -> None:
    _, problems = read_description("odd", tables(toml))
    assert key in {".".join(place) for place, _ in problems}
    assert any(said in problem for place, problem in problems if ".".join(place) == key)


@given(st.recursive(st.none() | st.booleans() | st.integers() | st.text(max_size=5), st.lists))
def test_a_value_of_any_kind_is_a_mistake_and_no_fault_of_ours(value: Any) -> None:
    for key in sorted(
        set(tables(PLAIN)) | {"auth", "ok", "json", "headers", "status", "organizations", "test", "each"}
    ):
        read_description("odd", tables(PLAIN) | {key: value})


# --- variables --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "filled"),
    [
        ("a {x} b", "a 1 b"),
        ("query {{ myself {{ clientBalance }} }}", "query { myself { clientBalance } }"),
        ("query { viewer { balance }}", "query { viewer { balance }}"),
        ("{{x}}", "{x}"),
        ("{ x }", "{ x }"),
    ],
)
def test_variables_are_filled_and_braces_are_doubled(text: str, filled: str) -> None:
    assert fill(text, {"x": "1"}) == filled


def test_any_name_without_spaces_is_a_variable() -> None:
    assert variables("{team}/{team-id}/{a.b}/{1}") == {"team", "team-id", "a.b", "1"}


@pytest.mark.parametrize(
    ("value", "filled"),
    [
        ("a b", "a%20b"),
        ("a/b", "a%2Fb"),
        ("../x", "..%2Fx"),
        ("%2f", "%252f"),
        ("?x=1#f", "%3Fx%3D1%23f"),
        ("ü", "%C3%BC"),
        ("a&b=c", "a%26b%3Dc"),
    ],
)
def test_a_value_cannot_leave_its_place(value: str, filled: str) -> None:
    url = parse_url("https://api.example.com/v1/{x}/y?z={x}&w=1")
    assert url.fill({"x": value}, None) == f"https://api.example.com/v1/{filled}/y?z={filled}&w=1"


@pytest.mark.parametrize("value", [".", "..", ""])
def test_a_value_that_would_be_another_path_is_refused(value: str) -> None:
    with pytest.raises(Unusable):
        parse_url("https://api.example.com/v1/{x}/y").fill({"x": value}, None)


@pytest.mark.parametrize("value", ["evil.example.com/", "a@b", "a:80", "", "a b", "-a", "a..b", "a#", "ä.example"])
def test_a_host_is_a_name(value: str) -> None:
    url = parse_url("https://{host}/v1")
    with pytest.raises(Unusable):
        url.fill({"host": value}, None)
    assert url.fill({"host": "sms.example.com"}, None) == "https://sms.example.com/v1"


def test_base_url_replaces_scheme_host_and_port_and_keeps_a_path_only_where_it_is_named() -> None:
    base = "http://127.0.0.1:8080/relay/"
    assert parse_url("https://{host}/v1/x").fill({}, base) == "http://127.0.0.1:8080/v1/x"
    assert parse_url("{base_url}/v1/x").fill({}, base) == "http://127.0.0.1:8080/relay/v1/x"


def test_unexpected_is_what_an_unreadable_answer_is() -> None:
    with pytest.raises(UnexpectedAnswer):
        read(described(PLAIN), '{"data": 5}')
