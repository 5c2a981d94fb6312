"""Exact credits from the text of an answer, the organizations of a key, and what each generation is asked."""

from decimal import ROUND_HALF_EVEN, Decimal, localcontext

import pytest
from canary import KEY, Open
from hypothesis import given
from hypothesis import strategies as st

from monitor import __version__
from monitor.errors import UnexpectedAnswer
from monitor.model import Generation, VendorOrganization
from monitor.providers.answers import read_credits, read_organizations
from monitor.providers.http import Answer
from monitor.sandbox import Reply, Vendor


def answer(body: str) -> Answer:
    return Answer(200, {}, body.encode())


@pytest.mark.parametrize(
    ("text", "figure"),
    [
        ("0.6336833840314097", "0.633683"),
        ("0", "0.000000"),
        ("-0.0", "0.000000"),
        ("-0.0000001", "0.000000"),
        ("5e-07", "0.000000"),
        ("1.5e-06", "0.000002"),
        ("2.5e-06", "0.000002"),
        ("3e-7", "0.000000"),
        ("-3.25", "-3.250000"),
        ("1E+3", "1000.000000"),
        ("12", "12.000000"),
        ("0e999999", "0.000000"),
        ("1e-999999", "0.000000"),
        ("123456789012.000001", "123456789012.000001"),
        ("999999999999.999999", "999999999999.999999"),
        ("0.1" + "0" * 60_000, "0.100000"),
    ],
)
def test_credits_are_the_exact_decimals_of_the_text(text: str, figure: str) -> None:
    assert str(read_credits(answer(f'{{"credits": {text}}}'))) == figure


@pytest.mark.parametrize(
    "text",
    [
        *("1000000000000", "-1e12", "999999999999.9999999", "1e308", "1e400", "1e999999999", "1e9999999999999999999"),
        *("9" * 5000, "-Infinity", "NaN", "null", "true", '"12.5"', "[12.5]", "{}", "01", "1.", ".5", "+1", "0x1", ""),
    ],
)
def test_anything_else_is_no_figure(text: str) -> None:
    with pytest.raises(UnexpectedAnswer):
        read_credits(answer(f'{{"credits": {text}}}'))


@pytest.mark.parametrize("prefix", [b"\xff\xfe", b"\x00", b"//comment\n"])
def test_only_plain_utf8_json_is_read(prefix: bytes) -> None:
    with pytest.raises(UnexpectedAnswer):
        read_credits(Answer(200, {}, prefix + b'{"credits": 1}'))


def test_a_byte_order_mark_before_the_json_is_no_part_of_it() -> None:
    assert read_credits(Answer(200, {}, b'\xef\xbb\xbf{"credits": 12.5}')) == Decimal("12.5")


@given(st.decimals(min_value="-999999999999", max_value="999999999999", allow_nan=False))
def test_every_figure_is_rounded_half_even_to_six_places(figure: Decimal) -> None:
    with localcontext(prec=100):
        expected = figure.quantize(Decimal("0.000001"), rounding=ROUND_HALF_EVEN)
    assert read_credits(answer(f'{{"credits": {figure}}}')) == expected


def test_the_precision_of_the_caller_does_not_matter() -> None:
    with localcontext(prec=3):
        assert str(read_credits(answer('{"credits": 123456.789012}'))) == "123456.789012"


async def test_the_organizations_of_a_key_are_listed(open_: Open, generation: Generation) -> None:
    assert await open_(generation).fetch_organizations() == (
        VendorOrganization("org-1", "Render Farm", is_default=True),
        VendorOrganization("org-2", "Playground", is_default=False),
    )


@pytest.mark.parametrize(
    "entry",
    [
        *("null", "[]", "{}", '{"id": 5}', '{"id": ""}', '{"id": "a b"}', '{"id": "a\\r\\nX: y"}', '{"id": "ö"}'),
        *(f'{{"id": "{"x" * 201}"}}', '{"id": "a", "name": 7}', f'{{"id": "{KEY}"}}'),
    ],
)
def test_a_bad_entry_is_left_out_and_a_list_of_nothing_else_is_refused(entry: str) -> None:
    listed = read_organizations(answer(f'{{"organizations": [{{"id": "good"}}, {entry}]}}'), secret=KEY)
    assert [organization.id for organization in listed.organizations] == ["good"]
    (line,) = listed.unusable
    assert line.isprintable()
    assert KEY not in line
    with pytest.raises(UnexpectedAnswer):
        read_organizations(answer(f'{{"organizations": [{entry}]}}'), secret=KEY)


def test_names_are_made_fit_to_show_and_doubles_dropped() -> None:
    body = rf'{{"organizations": [{{"id": "a", "name": " x\n\ud800\u202e{KEY} "}}, {{"id": "a"}}, {{"id": "b"}}]}}'
    assert read_organizations(answer(body), secret=KEY).organizations == (
        VendorOrganization("a", "x [redacted]", is_default=False),
        VendorOrganization("b", None, is_default=False),
    )


EXPECTED = "expected up to 200 letters, digits and signs without spaces"


def test_an_id_that_cannot_be_used_is_named_with_its_organization() -> None:
    entries = '{"id": "a"}, {"id": "org 7", "name": "Video"}, {"id": "b"}, {"name": "Lab"}, {}'
    assert read_organizations(answer(f'{{"organizations": [{entries}]}}'), secret=KEY).unusable == (
        f"the organization org 7 called Video has an id that no request can name: {EXPECTED}",
        "an organization called Lab has no id",
        "an organization has no id",
    )


async def test_a_thousand_organizations_fit_into_one_answer(vendor: Vendor, open_: Open) -> None:
    entry = '{"id": "org-%d", "name": "An Organization with a rather long name", "role": "MEMBER", "is_default": false}'
    listed = ",".join(entry % number for number in range(1000))
    vendor.account_fault = Reply(body=f'{{"organizations": [{listed}]}}'.encode())
    assert len(await open_().fetch_organizations()) == 1000


async def test_v1_is_asked_as_its_documents_say(vendor: Vendor, open_: Open) -> None:
    await open_(Generation.V1).fetch_balance("org-2")
    request = vendor.requests[-1]
    assert (request.method, request.path) == ("GET", "/v1/user/balance")
    assert {name: request.headers[name] for name in sorted(request.headers.keys() - {"host"})} == {
        "accept": "application/json",
        "accept-encoding": "identity",
        "authorization": f"Bearer {KEY}",
        "organization": "org-2",
        "stability-client-id": "credit-monitor",
        "stability-client-version": __version__,
        "user-agent": f"credit-monitor/{__version__}",
    }


async def test_v1alpha_is_asked_as_its_documents_say(vendor: Vendor, open_: Open) -> None:
    await open_(Generation.V1ALPHA).fetch_organizations()
    request = vendor.requests[-1]
    assert (request.method, request.path) == ("GET", "/v1alpha/user/account")
    assert request.headers["authorization"] == KEY
    assert not request.headers.keys() & {"organization", "stability-client-id", "stability-client-version", "cookie"}


async def test_the_default_organization_is_asked_without_a_header(
    vendor: Vendor, open_: Open, generation: Generation
) -> None:
    assert await open_(generation).fetch_balance(None) == Decimal("1500.25")
    assert "organization" not in vendor.requests[-1].headers


@pytest.mark.parametrize("vendor_id", ["", "a\r\nX-Evil: 1", "ö", "a b", "x" * 201])
async def test_an_id_that_no_header_can_carry_is_never_sent(vendor: Vendor, open_: Open, vendor_id: str) -> None:
    with pytest.raises(UnexpectedAnswer):
        await open_().fetch_balance(vendor_id)
    assert not vendor.requests


async def test_a_base_url_may_have_a_path(vendor: Vendor, open_: Open) -> None:
    with pytest.raises(Exception, match="not there"):
        await open_(base_url=f"{vendor.url}/proxied/").fetch_balance(None)
    assert vendor.requests[-1].path == "/proxied/v1/user/balance"
