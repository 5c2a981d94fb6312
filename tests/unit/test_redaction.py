"""Redaction: every form in which a secret may come back, and what is never taken for one."""

import base64
import html
import random
import string
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitor.text.redaction import MARK, Secrets, parts_of

KEY = "Tr0ub4dor&3/canary=Zx9"
FORMS = {
    "as it is": lambda s: s,
    "upper case": str.upper,
    "lower case": str.lower,
    "percent": lambda s: quote(s, safe=""),
    "percent, slash kept": quote,
    "percent, every character": lambda s: "".join(f"%{byte:02x}" for byte in s.encode()),
    "hex": lambda s: s.encode().hex(),
    "hex, upper case, with colons": lambda s: s.encode().hex(":").upper(),
    "html": html.escape,
    "html, decimal": lambda s: "".join(f"&#{ord(c)};" for c in s),
    "html, hexadecimal": lambda s: "".join(f"&#x{ord(c):X};" for c in s),
    "unicode escapes": lambda s: "".join(f"\\u{ord(c):04x}" for c in s),
    "byte escapes": lambda s: "".join(f"\\x{ord(c):02x}" for c in s),
    "reversed": lambda s: s[::-1],
    "spaced": " ".join,
    "dashed": "-".join,
    "in fours": lambda s: "-".join(s[at : at + 4] for at in range(0, len(s), 4)),
    **{
        f"base64, {n} before": lambda s, n=n: base64.b64encode(b"u:x"[:n] + s.encode() + b"!").decode()
        for n in range(3)
    },
    "base64url": lambda s: base64.urlsafe_b64encode(s.encode()).decode().rstrip("="),
    "in a login": lambda s: base64.b64encode(f"user:{s}".encode()).decode(),
}


@pytest.mark.parametrize("secret", [KEY, "hunter2x", "pässwörd-1"])
@pytest.mark.parametrize("form", FORMS)
def test_a_secret_is_found_in_every_form(secret, form):
    secrets = Secrets()
    secrets.add(secret)
    if form == "byte escapes" and not secret.isascii():
        return
    encoded = FORMS[form](secret)
    shown = secrets.redact(f"the proxy says ({encoded}) to you")
    assert MARK in shown
    assert shown.startswith("the proxy says (")
    assert shown.endswith(") to you")
    assert len(shown) < len(f"the proxy says ({MARK * 3}xxxxxxxx) to you")


def test_pieces_of_eight_are_taken_out_of_long_secrets_alone():
    secrets = Secrets()
    secrets.add("abcdefghijklmnop")
    secrets.add("short-secret-15")
    assert secrets.redact("xx cdefghij yy") == f"xx {MARK} yy"
    assert secrets.redact("xx cdefghi yy") == "xx cdefghi yy"
    assert secrets.redact("short-secret") == "short-secret"
    assert secrets.redact("Short Secret 15!") == f"{MARK}!"


def test_a_short_secret_is_found_as_it_stands_and_a_tiny_one_never():
    secrets = Secrets()
    secrets.add("p@s5")
    secrets.add("ab")
    assert secrets.redact("P@S5 p%40s5 ps5 ab") == f"{MARK} {MARK} ps5 ab"


def test_what_looks_like_a_key_is_taken_out_without_being_known():
    assert Secrets().redact("sk-abc…xyz of the task-force") == f"{MARK} of the task-force"


@given(
    st.text(max_size=60),
    st.text(alphabet=string.ascii_letters + string.digits + "-_/+&%", min_size=8, max_size=40),
    st.text(max_size=60),
)
def test_whatever_stands_around_it_a_secret_is_not_in_what_is_left(before, secret, after):
    secrets = Secrets()
    secrets.add(secret)
    left = secrets.redact(before + secret + after)
    assert secret not in left.replace(MARK, "")


def test_what_holds_no_secret_stays_as_it_is():
    secrets = Secrets()
    generator = random.Random(7)
    for _ in range(200):
        secrets.add("".join(generator.choices(string.ascii_letters + string.digits, k=32)))
    text = 'the vendor\'s words: 100 % of &amp; \\u00e9 {"credits": 12.5} https://example.com/a%20b'
    assert secrets.redact(text) == text


@pytest.mark.parametrize(
    ("url", "found"),
    [
        ("postgresql://monitor:s3cr%2Ft@db01.example.org:5432/credits_2024?sslmode=require", {"s3cr%2Ft", "s3cr/t"}),
        ("postgresql:///credits?host=/run/postgresql&password=hunter2x", {"hunter2x"}),
        ("http://user:pw12@proxy01:3128", {"pw12"}),
        ("mailto://ops%40example.org:pa55word@smtp.example.org?to=a@example.org,b2345678@example.org", {"pa55word"}),
        ("https://hc-ping.com/0b1f6a3e-1111-4222-8333-444455556666", {"0b1f6a3e-1111-4222-8333-444455556666"}),
        ("slack://T1JJ3T3L2/A1BRTD4JD/TIiajkdnlazkcOXrIdevi7FQ/#alerts2024", {"A1BRTD4JD", "TIiajkdnlazkcOXrIdevi7FQ"}),
        ("tgram://123456789:AAF-abcdefgh12345678/987654321", {"AAF-abcdefgh12345678"}),
        ("jsons://hooks.example.org/services/credit?+X-Token=abcd1234", {"services", "abcd1234"}),
        ("discord://4174216298/JHMHI8qBe7bk2ZwO5U711o3dV_js?avatar=no", {"JHMHI8qBe7bk2ZwO5U711o3dV_js"}),
        ("ntfys://tk_abcdefgh12345678ijkl@ntfy.example.org/alerts", {"tk_abcdefgh12345678ijkl"}),
    ],
)
def test_of_a_url_the_secret_parts_are_known_and_nothing_that_people_must_see(url, found):
    assert set(parts_of(url)) == found
