"""What the configuration means: defaults, layers over each other, rules, places."""

from datetime import timedelta
from decimal import Decimal
from pathlib import Path

import pytest
from given import HOME, KEY, Given

from monitor.config import Settings, load
from monitor.config.checks import deaf_fallbacks
from monitor.model import Generation, RateLimit, Rung, Severity


@pytest.fixture
def given(tmp_path: Path) -> Given:
    return Given(tmp_path)


# --- nothing but a key ------------------------------------------------------------------------------------------------


def test_a_key_alone_is_a_working_configuration(given: Given) -> None:
    settings = given.load(STABILITY_API_KEY=KEY)
    account = settings.accounts["default"]
    assert list(settings.accounts) == ["default"]
    assert (account.generation, account.organizations_all) == (Generation.V1, True)
    assert account.base_url == "https://api.stability.ai"
    assert account.rate_limit == RateLimit(75, timedelta(seconds=10))
    assert settings.api_key("default") == KEY
    assert settings.database.url == "sqlite:////home/nobody/.local/state/credit-monitor/credit-monitor.db"
    assert (settings.channels, settings.warnings) == ({}, ())


def test_the_environment_refines_a_key_alone(given: Given) -> None:
    settings = given.load(
        STABILITY_API_KEY=KEY,
        CREDIT_MONITOR_ACCOUNTS__DEFAULT__BASE_URL="http://127.0.0.1:8080/",
        CREDIT_MONITOR_CHANNELS__DEFAULT__URL="json://localhost/hook",
    )
    assert settings.accounts["default"].base_url == "http://127.0.0.1:8080"
    assert settings.accounts["default"].organizations_all
    assert settings.channel_url("default") == "json://localhost/hook"


def test_a_key_alone_goes_with_a_file_that_has_no_account(given: Given) -> None:
    settings = given.load('[channels.ops]\nurl_file = "ops.url"', STABILITY_API_KEY=KEY)
    assert (list(settings.accounts), list(settings.channels)) == (["default"], ["ops"])


@pytest.mark.parametrize(
    ("text", "environ"),
    [
        ('[accounts.studio]\napi_key_file = "k"', {}),
        ('[accounts.default]\napi_key_file = "k"', {}),
        (None, {"CREDIT_MONITOR_ACCOUNTS__STUDIO__API_KEY": KEY}),
    ],
)
def test_a_configured_account_needs_no_key_of_the_environment(given: Given, text: str, environ: dict[str, str]) -> None:
    settings = given.load(text, STABILITY_API_KEY="sk-other", **environ)
    assert len(settings.accounts) == 1
    assert not next(iter(settings.accounts.values())).organizations_all


# --- layers -----------------------------------------------------------------------------------------------------------

FILE = """
timezone = "Europe/Berlin"
[poll]
every = "10m"
[accounts.Render-Farm]
api_key_file = "file.key"
rate_limit = "off"
[organizations.a]
notify = ["ops"]
[channels.ops]
min_severity = "info"
"""


@pytest.mark.parametrize(
    ("setting", "key", "in_credential", "in_environment"),
    [
        ("TIMEZONE", "timezone", "Asia/Tokyo", "America/Lima"),
        ("POLL__EVERY", "poll.every", "7m", "1h30m"),
        ("ACCOUNTS__RENDER_FARM__RATE_LIMIT", "accounts.Render-Farm.rate_limit", "1/1s", "20/10s"),
        ("CHANNELS__OPS__MIN_SEVERITY", "channels.ops.min_severity", "critical", "warning"),
        ("ORGANIZATIONS__A__NOTIFY", "organizations.a.notify", '["ops"]', "ops"),
    ],
)
def test_the_environment_is_stronger_than_credentials_and_those_than_the_file(
    given: Given, setting: str, key: str, in_credential: str, in_environment: str
) -> None:
    variable = f"CREDIT_MONITOR_{setting}"
    assert given.sources(FILE)[key][1].startswith("config.toml:")
    credentials = given.credentials(**{variable: in_credential + "\n"})
    assert given.sources(FILE, **credentials)[key] == (in_credential.strip('["]'), f"$CREDENTIALS_DIRECTORY/{variable}")
    rows = given.sources(FILE, **credentials, **{variable: in_environment})
    assert rows[key] == (in_environment, f"environment {variable}")


@pytest.mark.parametrize("secret", ["accounts.Render-Farm.api_key", "channels.ops.url"])
def test_secrets_follow_the_same_order(given: Given, secret: str) -> None:
    variable = "CREDIT_MONITOR_" + secret.replace(".", "__").replace("-", "_").upper()

    def read(settings: Settings) -> str:
        return settings.api_key("Render-Farm") if "api_key" in secret else settings.channel_url("ops")

    table, name, setting = secret.split(".")
    text = f'[accounts.Render-Farm]\n[channels.ops]\n[{table}.{name}]\n{setting}_file = "secret"'
    text = text.replace(f"[{table}.{name}]\n", "", 1)
    (given.folder / "secret").write_text("of-the-file\n")
    (given.folder / "secret").chmod(0o600)
    assert read(given.load(text)) == "of-the-file"
    credentials = given.credentials(**{variable.lower(): "of-the-credential\n"})
    assert read(given.load(text, **credentials)) == "of-the-credential"
    assert read(given.load(text, **credentials, **{variable: "of-the-variable"})) == "of-the-variable"
    (given.folder / "credentials" / variable.lower()).unlink()
    assert read(given.load(text, **{f"{variable}_FILE": str(given.folder / "secret")})) == "of-the-file"


@pytest.mark.parametrize(
    "variable",
    [
        "CREDIT_MONITOR_ACCOUNTS__RENDER_FARM__API_KEY",
        "credit_monitor_accounts__render_farm__api_key",
        "Credit_Monitor_Accounts__Render_Farm__Api_Key",
    ],
)
def test_names_with_dashes_are_found_in_any_case(given: Given, variable: str) -> None:
    settings = given.load("[accounts.Render-Farm]", **{variable: KEY})
    assert (list(settings.accounts), settings.api_key("Render-Farm")) == (["Render-Farm"], KEY)


def test_a_rule_given_whole_by_a_variable_replaces_the_file_s_whole(given: Given) -> None:
    text = "[rules]\ncredits = { warning = 1000, critical = 200 }"
    whole = given.load(text, CREDIT_MONITOR_RULES__CREDITS="{ warning = 50 }")
    assert [(rung.severity, rung.below) for rung in whole.rules.credits] == [(Severity.WARNING, 50)]
    one_level = given.load(text, CREDIT_MONITOR_RULES__CREDITS__WARNING="500")
    assert [rung.below for rung in one_level.rules.credits] == [200, 500]
    assert given.load(text, CREDIT_MONITOR_RULES__CREDITS="off").rules.credits == ()


def test_a_table_given_by_a_variable_is_laid_over_the_file_s(given: Given) -> None:
    text = '[accounts.studio]\napi_key_file = "studio.key"\nrate_limit = "5/1s"'
    settings = given.load(text, CREDIT_MONITOR_ACCOUNTS__STUDIO='{ rate_limit = "off" }')
    assert settings.accounts["studio"].rate_limit is None
    assert settings.keys["studio"].path == given.folder / "studio.key"


# --- rules ------------------------------------------------------------------------------------------------------------


def test_rules_that_nobody_mentions_have_their_defaults(given: Given) -> None:
    rules = given.load("").rules
    assert rules.credits == (
        Rung(Severity.CRITICAL, Decimal(200), Decimal(210)),
        Rung(Severity.WARNING, Decimal(1000), Decimal(1050)),
    )
    assert rules.runway == (
        Rung(Severity.CRITICAL, Decimal(48), Decimal(60)),
        Rung(Severity.WARNING, Decimal(168), Decimal(210)),
    )
    assert (rules.stale_after, rules.confirm_checks) == (timedelta(minutes=30), 1)


def test_stale_after_follows_a_long_pause_between_polls(given: Given) -> None:
    assert given.load('poll.every = "1h"').rules.stale_after == timedelta(hours=3)


@pytest.mark.parametrize("off", ['remind_every = "off"', 'remind_every = { warning = "off", critical = "off" }'])
def test_reminders_that_are_off_are_off(given: Given, off: str) -> None:
    assert given.load(f"[rules]\n{off}").rules.remind == {}


def test_an_organization_replaces_rules_whole_and_inherits_the_others(given: Given) -> None:
    settings = given.load("""
[rules]
credits = "off"
runway = { warning = "3d" }
confirm_checks = 2
[accounts.studio]
[organizations.a]
id = "org-a"
rules.credits = { critical = 5, clear = { critical = 9.5 } }
[organizations.b.rules]
runway = "off"
stale_after = "off"
[organizations.c]
id = "org-c"
""")
    a, b, c = (settings.organizations[name].rules for name in "abc")
    assert a.credits == (Rung(Severity.CRITICAL, Decimal(5), Decimal("9.5")),)
    assert a.runway == (Rung(Severity.WARNING, Decimal(72), Decimal(90)),)
    assert (b.credits, b.runway, b.stale_after, b.confirm_checks) == ((), (), None, 2)
    assert c is settings.rules


# --- places -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        ({"STATE_DIRECTORY": "/var/lib/credit-monitor:/other", "XDG_STATE_HOME": "/state"}, "/var/lib/credit-monitor"),
        ({"XDG_STATE_HOME": "/state"}, "/state/credit-monitor"),
        ({"XDG_STATE_HOME": "not/absolute"}, "/home/nobody/.local/state/credit-monitor"),
        ({}, "/home/nobody/.local/state/credit-monitor"),
    ],
)
def test_the_database_is_in_the_state_directory(given: Given, environ: dict[str, str], expected: str) -> None:
    assert given.load(STABILITY_API_KEY=KEY, **environ).database.url == f"sqlite:///{expected}/credit-monitor.db"


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ("sqlite:////srv/monitor.db", "sqlite:////srv/monitor.db"),
        ("sqlite:///monitor.db", "sqlite:///{folder}/monitor.db"),
        ("sqlite:///~/monitor.db", "sqlite:////home/nobody/monitor.db"),
        ("postgresql://me@db.example.org:5432/credits", "postgresql://me@db.example.org:5432/credits"),
        ("postgresql:///credits?host=/run/postgresql", "postgresql:///credits?host=/run/postgresql"),
    ],
)
def test_a_relative_path_begins_at_the_file(given: Given, written: str, expected: str) -> None:
    url = given.load(f'database.url = "{written}"').database.url
    assert url == expected.format(folder=given.folder)


def test_the_file_is_looked_for_in_the_documented_places(given: Given) -> None:
    named, own = given.folder / "named.toml", given.folder / "home/.config/credit-monitor/config.toml"
    xdg = given.folder / "xdg/credit-monitor/config.toml"
    environ = {"HOME": str(given.folder / "home")}
    for path in (named, own, xdg):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("")
    assert load(None, environ).file == own
    environ["XDG_CONFIG_HOME"] = str(given.folder / "xdg")
    assert load(None, environ).file == xdg
    environ["CREDIT_MONITOR_CONFIG"] = str(named)
    assert load(None, environ).file == named
    assert load(own, environ).file == own


@pytest.mark.parametrize("content", [b"", b"\xef\xbb\xbf", b"\xef\xbb\xbftimezone = 'UTC'\r\n"])
def test_an_empty_file_and_a_byte_order_mark_are_fine(given: Given, content: bytes) -> None:
    given.file.write_bytes(content)
    assert load(given.file, HOME).accounts == {}


@pytest.mark.parametrize(
    ("second", "third", "warned"),
    [
        ("", "", []),
        ('min_severity = "critical"', "", ["second stands in, nobody hears of what is below critical"]),
        ("", 'min_severity = "critical"', ["third stands in, nobody hears of what is below critical"] * 2),
        ('quiet_hours = "22:00-07:00"', "", ["second stands in, nobody hears of a warning in its quiet_hours"]),
    ],
)
def test_a_fallback_that_would_not_hear_what_its_channel_hears_is_warned_about(given, second, third, warned):
    chain = '[channels.main]\nfallback = "second"\n[channels.second]\nfallback = "third"\n'
    text = f"{chain}{second}\n[channels.third]\n{third}"
    warnings = list(deaf_fallbacks(given.load(text)))
    assert len(warnings) == len(warned)
    assert all(words in warning for words, warning in zip(warned, warnings, strict=True))
