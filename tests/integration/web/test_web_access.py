"""Who may look: a table of requests, and what each is answered before any page is."""

import base64
import ipaddress

import pytest
from visitor import TOKEN, Site, settings_of

from monitor.config import Address, Web
from monitor.web.access import MOST_WRONG, WITHIN, Access, Wrong

HERE = Web(Address("127.0.0.1", 9464))
PROXIES = tuple(map(ipaddress.ip_network, ("127.0.0.1", "10.0.0.0/8")))
BEHIND = Web(Address("127.0.0.1", 9464), trusted_proxies=PROXIES, user_header="Remote-User")
OPEN = Web(Address("0.0.0.0", 9464))


def basic(password: str, user: str = "anybody") -> str:
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


def status(access: Access, client: str, headers: dict[str, str], path: str = "/") -> int:
    raw = [(name.lower().encode(), value.encode("latin-1")) for name, value in headers.items()]
    refusal = access.refusal({"type": "http", "client": (client, 1), "headers": raw}, path)
    return refusal.status_code if refusal else 200


@pytest.mark.parametrize(
    ("web", "token", "client", "headers", "answered"),
    [
        (HERE, None, "127.0.0.1", {}, 200),
        (HERE, None, "::1", {}, 200),
        (HERE, None, "127.0.0.1", {"X-Forwarded-For": "203.0.113.9"}, 403),  # a proxy beside it opens it to nobody
        (HERE, None, "127.0.0.1", {"Forwarded": "for=203.0.113.9"}, 403),
        (HERE, None, "127.0.0.1", {"X-Forwarded-For": "127.0.0.1"}, 403),
        (HERE, None, "127.0.0.1", {"Remote-User": "ada"}, 200),  # nobody is believed: it says nothing
        (HERE, TOKEN, "127.0.0.1", {}, 401),
        (HERE, TOKEN, "127.0.0.1", {"Authorization": basic(TOKEN)}, 200),
        (HERE, TOKEN, "127.0.0.1", {"Authorization": basic(TOKEN, user="")}, 200),
        (HERE, TOKEN, "127.0.0.1", {"Authorization": f"Bearer {TOKEN}"}, 200),
        (HERE, TOKEN, "127.0.0.1", {"Authorization": basic(f"{TOKEN}x")}, 401),
        (HERE, TOKEN, "127.0.0.1", {"Authorization": "Basic !!!"}, 401),
        (HERE, TOKEN, "127.0.0.1", {"Authorization": "Basic /w=="}, 401),
        (HERE, TOKEN, "127.0.0.1", {"Authorization": basic("")}, 401),
        (HERE, TOKEN, "127.0.0.1", {"Authorization": f"Digest {TOKEN}"}, 401),
        (HERE, TOKEN, "127.0.0.1", {"Remote-User": "ada"}, 401),
        (OPEN, TOKEN, "203.0.113.9", {"X-Forwarded-For": "127.0.0.1"}, 401),
        (OPEN, TOKEN, "203.0.113.9", {"Authorization": basic(TOKEN)}, 200),
        (BEHIND, None, "127.0.0.1", {"Remote-User": "ada"}, 200),
        (BEHIND, None, "10.9.8.7", {"Remote-User": "ada", "X-Forwarded-For": "203.0.113.9"}, 200),
        (BEHIND, None, "127.0.0.1", {}, 403),
        (BEHIND, None, "127.0.0.1", {"Remote-User": "  "}, 403),
        (BEHIND, TOKEN, "127.0.0.1", {"Authorization": basic(TOKEN)}, 403),  # a trusted proxy names who asks
        (BEHIND, None, "192.0.2.1", {"Remote-User": "ada"}, 403),  # forged
        (BEHIND, TOKEN, "192.0.2.1", {"Remote-User": "ada"}, 401),
        (BEHIND, TOKEN, "192.0.2.1", {"Authorization": basic(TOKEN)}, 200),
        (BEHIND, None, "::ffff:10.0.0.1", {"Remote-User": "ada"}, 200),
    ],
)
def test_who_may_look(web: Web, token: str | None, client: str, headers: dict[str, str], answered: int) -> None:
    access = Access(web, token)
    assert status(access, client, headers) == answered
    for path in ("/healthz", "/readyz"):
        assert status(access, client, headers, path) == 200
    for path in ("/metrics", "/api/v1/status", "/static/page.css", "/organizations/lab"):
        assert status(access, client, headers, path) == answered


@pytest.mark.parametrize(
    ("given", "client"),
    [
        ("203.0.113.9", "203.0.113.9"),
        ("198.51.100.7, 203.0.113.9", "203.0.113.9"),  # what a client wrote itself stands further left
        ("203.0.113.9, 10.1.1.1", "203.0.113.9"),
        ("203.0.113.9:4711, 10.1.1.1:80", "203.0.113.9"),
        ("garbage", "10.0.0.1"),
        ("203.0.113.9, garbage", "10.0.0.1"),
        ("[2001:db8:1:2::5]:443", "2001:db8:1:2::/64"),
        ("", "10.0.0.1"),
    ],
)
def test_twenty_wrong_passwords_a_minute_are_those_of_one_address(given: str, client: str) -> None:
    now = [0.0]
    web = Web(Address("127.0.0.1", 9464), trusted_proxies=PROXIES)
    access = Access(web, TOKEN, Wrong(lambda: now[0]))
    headers = {"X-Forwarded-For": given, "Authorization": basic("guess")}
    for _ in range(MOST_WRONG):
        assert status(access, "10.0.0.1", headers) == 401
    assert status(access, "10.0.0.1", headers) == 429
    assert access.wrong.are_too_many(client)
    assert status(access, "10.0.0.1", headers | {"Authorization": basic(TOKEN)}) == 429
    assert status(access, "192.0.2.77", {"Authorization": basic(TOKEN)}) == 200  # another address is another's
    now[0] += WITHIN + 1
    assert status(access, "10.0.0.1", headers | {"Authorization": basic(TOKEN)}) == 200


def test_addresses_that_are_remembered_are_bounded() -> None:
    wrong = Wrong(lambda: 0.0)
    for number in range(3000):
        wrong.add(f"address-{number}")
    assert len(wrong._by_address) == 1000


async def test_a_browser_is_asked_for_the_password_and_a_path_of_the_proxy_is_everywhere(tmp_path, sqlite_url) -> None:
    more = f'token = "{TOKEN}"\npublic_url = "https://monitor.example.org/credits/"\n'
    async with Site(settings_of(tmp_path, sqlite_url, more)).serve() as site:
        asked = await site.ask("/")
        assert (asked.status, asked.headers["www-authenticate"][:5]) == (401, "Basic")
        for path in ("/credits/healthz", "/credits/readyz"):
            assert (await site.ask(path, Host="monitor.example.org")).status in {200, 503}
        assert (await site.ask("/creditsx", Authorization=f"Bearer {TOKEN}")).status == 404
