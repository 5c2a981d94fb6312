"""The settings of `[web]` and of the heartbeat: addresses as people write them, and two more secrets."""

import logging
from pathlib import Path

import pytest
from given import CANARY, Given, in_file

from monitor.errors import ConfigError

URL = f"https://hc-ping.com/{CANARY}"


@pytest.fixture
def given(tmp_path: Path) -> Given:
    return Given(tmp_path)


@pytest.mark.parametrize(
    ("written", "listens", "loopback"),
    [
        ('"127.0.0.1:9464"', "127.0.0.1:9464", True),
        ("9464", "127.0.0.1:9464", True),
        ('"9464"', "127.0.0.1:9464", True),
        ('"localhost:1"', "localhost:1", True),
        ('"[::1]:65535"', "[::1]:65535", True),
        ('"127.8.9.10:9464"', "127.8.9.10:9464", True),
        ('"0.0.0.0:9464"', "0.0.0.0:9464", False),
        ('"[::]:9464"', "[::]:9464", False),
        ('"10.0.0.5:9464"', "10.0.0.5:9464", False),
        ('"Monitor.example.org:9464"', "monitor.example.org:9464", False),
    ],
)
def test_an_address_is_read_as_it_is_written(given: Given, written: str, listens: str, loopback: bool) -> None:
    web = given.load(f'web = {{ listen = {written}, token = "t" }}').web
    assert web is not None
    assert (str(web), web.is_loopback) == (listens, loopback)


NO_ADDRESSES = (
    *('":9464"', '"127.0.0.1"', '"127.0.0.1:0"', '"127.0.0.1:65536"', '"[1.2.3.4]:1"', '"::1:80"', '"a b:80"'),
    *("0", "true", "1.5", '""', "[]"),
)


@pytest.mark.parametrize("written", NO_ADDRESSES)
def test_what_is_no_address_is_a_mistake(tmp_path: Path, written: str) -> None:
    expected = 'expected a host and a port such as "127.0.0.1:9464" or "[::1]:9464", a port alone, or "off"'
    assert in_file(tmp_path, f"web.listen = {written}") == [f":1: web.listen: {expected}"]


def test_nothing_is_served_unless_it_is_said(given: Given) -> None:
    for text in ("", 'web.listen = "off"', 'web.token = "t"'):
        assert given.load(text).web is None


@pytest.mark.parametrize("host", ["0.0.0.0", "[::]", "10.0.0.5", "monitor.example.org"])
def test_what_other_machines_reach_needs_a_token(tmp_path: Path, given: Given, host: str) -> None:
    problem = "can be reached from other machines and needs web.token_file; or listen on 127.0.0.1"
    assert in_file(tmp_path, f'[web]\nlisten = "{host}:9464"') == [f":2: web.listen: {problem}"]
    assert given.load(f'web.listen = "{host}:9464"', CREDIT_MONITOR_WEB__TOKEN=CANARY).web_token() == CANARY


def test_names_of_hosts_are_names(given: Given, tmp_path: Path) -> None:
    web = given.load('web = { listen = 9464, hosts = ["Monitor.Example.org", "b"] }').web
    assert web is not None
    assert web.hosts == ("monitor.example.org", "b")
    assert given.load("web.listen = 9464", CREDIT_MONITOR_WEB__HOSTS="a,b").web.hosts == ("a", "b")  # type: ignore[union-attr]
    for wrong in ("a:80", "http://a", "*", "a b"):
        (mistake,) = in_file(tmp_path, f"web.hosts = ['{wrong}']")
        assert mistake.startswith(":1: web.hosts: expected names of hosts without port")


def test_where_people_reach_it_is_a_url_and_its_host_a_name(given: Given, tmp_path: Path) -> None:
    web = given.load('web = { listen = 9464, public_url = "https://Monitor.example.org:8443/credits/" }').web
    assert web is not None
    assert (web.prefix, "monitor.example.org" in web.names) == ("/credits", True)
    for wrong in ("monitor.example.org", "ftp://a", "https://u:p@a", "https://a/?q", "https://a/#f", "https://a/<b>"):
        (mistake,) = in_file(tmp_path, f"web.public_url = '{wrong}'")
        assert mistake.startswith(":1: web.public_url: expected the URL of the page")


def test_a_proxy_that_is_trusted_replaces_the_token(given: Given, tmp_path: Path) -> None:
    behind = 'web = { listen = "0.0.0.0:9464", trusted_proxies = ["10.0.0.0/8", "::1"], user_header = "Remote-User" }'
    web = given.load(behind).web
    assert web is not None
    assert (list(map(str, web.trusted_proxies)), web.knows_users) == (["10.0.0.0/8", "::1/128"], True)
    (mistake,) = in_file(tmp_path, 'web = { listen = "0.0.0.0:9464", trusted_proxies = ["10.0.0.0/8"] }')
    assert mistake.startswith(":1: web.listen: can be reached from other machines and needs web.token_file")
    (mistake,) = in_file(tmp_path, 'web = { listen = 9464, user_header = "Remote-User" }')
    assert mistake == ":1: web.user_header: needs web.trusted_proxies: from whom it is believed"
    for wrong in ('["10.0.0.1/8"]', '["proxy"]', '"all"', "[1]"):
        (mistake,) = in_file(tmp_path, f"web.trusted_proxies = {wrong}")
        assert mistake.startswith(":1: web.trusted_proxies: expected addresses or networks")
    (mistake,) = in_file(tmp_path, 'web.user_header = "Remote User"')
    assert mistake.startswith(":1: web.user_header: expected the name of a header")


# --- secrets ----------------------------------------------------------------------------------------------------------


def test_both_secrets_come_from_files_variables_and_credentials_and_are_read_only_when_asked_for(given: Given) -> None:
    for name, value in (("url", URL), ("token", CANARY)):
        (given.folder / name).write_text(f"{value}\n")
        (given.folder / name).chmod(0o600)
    listen = 'web.listen = "0.0.0.0:1"\n'
    in_files = given.load(f'{listen}heartbeat_url_file = "url"\nweb.token_file = "token"')
    variables = {"CREDIT_MONITOR_HEARTBEAT_URL": URL, "CREDIT_MONITOR_WEB__TOKEN": CANARY}
    in_variables = given.load(listen, **variables)
    in_credentials = given.load(listen, **given.credentials(**variables))
    for settings in (in_files, in_variables, in_credentials):
        assert (settings.heartbeat_url(), settings.web_token(), settings.warnings) == (URL, CANARY, ())
    assert in_credentials.heartbeat.path is not None
    missing = given.load(f'{listen}heartbeat_url_file = "gone"\nweb.token_file = "gone"')
    for read in (missing.heartbeat_url, missing.web_token):
        with pytest.raises(ConfigError, match="cannot be read: no such file"):
            read()


def test_without_them_there_is_no_heartbeat_and_no_token(given: Given) -> None:
    settings = given.load("web.listen = 9464")
    assert (settings.heartbeat_url(), settings.web_token()) == (None, None)


@pytest.mark.parametrize(
    "url", [CANARY, f"ftp://host/{CANARY}", f"https:///{CANARY}", f"https://h/a {CANARY}", f"https://[{CANARY}"]
)
def test_what_is_no_url_or_no_token_is_not_repeated(given: Given, url: str) -> None:
    settings = given.load("", CREDIT_MONITOR_HEARTBEAT_URL=url, CREDIT_MONITOR_WEB__TOKEN=f"{CANARY} ü")
    for read in (settings.heartbeat_url, settings.web_token):
        with pytest.raises(ConfigError) as error:
            read()
        assert CANARY not in str(error.value)
        assert "environment CREDIT_MONITOR_" in str(error.value)


def test_neither_is_shown_and_both_are_warned_about_in_the_file(given: Given, caplog: pytest.LogCaptureFixture) -> None:
    text = f'heartbeat_url = "{URL}"\nweb = {{ listen = 9464, token = "{CANARY}" }}'
    with caplog.at_level(logging.DEBUG):
        settings, sources = given.load(text), given.sources(text)
    assert CANARY not in f"{settings!r}{sources}{settings.warnings}{caplog.text}"
    assert sources["heartbeat_url"] == ("***", "config.toml:1")
    assert sources["web.token"] == ("***", "config.toml:2")
    assert [warning for warning in settings.warnings if "can be read by everybody" not in warning] == [
        warning for warning in settings.warnings if "the secret itself stands in this file" in warning
    ]
    assert sum("the secret itself stands in this file" in warning for warning in settings.warnings) == 2
