"""Mistakes beside those of single settings: what is no TOML, variables, credentials, files, and several at once."""

import os
from pathlib import Path

import pytest
from given import CANARY, HOME, KEY, in_file, mistakes

from monitor.config import load
from monitor.errors import ConfigError

LENGTH = 'expected a length of time such as "90s", "5m", "1h30m" or "7d"'
NO_UNIT = 'has no unit; expected a length of time such as "90s" or "5m"'
CREDITS = "expected a number of credits, 0 or more"
LEVELS = 'expected levels such as { warning = …, critical = … }, or "off"'
NO_CHANNEL = "names no channel that is configured; there is none: add [channels.NAME]"
TABLES = (
    "timezone, price_per_credit, heartbeat_url, heartbeat_url_file, database, poll, retention, web, "
    "rules, accounts, organizations, channels, providers"
)


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("a = 1\n[poll\n", ":2: is not TOML: expected ']' at the end of a table declaration"),
        ("a = 1\na = 2", ":2: is not TOML: cannot overwrite a value"),
        ("[poll]\n[poll]", ":2: is not TOML: cannot declare … twice"),
        ("\n\nevery = 5m", ":3: is not TOML: expected newline or end of document after a statement"),
        (f"[accounts.a]\napi_key = {CANARY}", ":2: is not TOML: invalid value"),
        (f"[accounts.a]\napi_key = '{CANARY}", ':2: is not TOML: expected "\'"'),
        (f"{CANARY} sk-x", ":1: is not TOML: expected '=' after a key in a key/value pair"),
        (f"x = {{ {CANARY} = 1, {CANARY} = 2 }}", ":1: is not TOML: duplicate inline table key …"),
        ("a = " + "[" * 5000, ": is not TOML: a value is too large or too deep"),
        ("a = 1e9999999999999999999", ": is not TOML: a value is too large or too deep"),
        ("# ü\na = 'x'\n".encode("latin-1"), ":1: is not UTF-8 text"),
        (b"a = 'x'\n\n# \xff", ":3: is not UTF-8 text"),
    ],
)
def test_what_is_not_toml_is_told_with_its_line_and_without_its_text(
    tmp_path: Path, content: str | bytes, expected: str
) -> None:
    assert in_file(tmp_path, content) == [expected]


LINKS = {
    "CREDIT_MONITOR_PORT": "tcp://10.0.0.1:9100",
    "CREDIT_MONITOR_SERVICE_HOST": "10.0.0.1",
    "CREDIT_MONITOR_SERVICE_PORT": "9100",
    "CREDIT_MONITOR_SERVICE_PORT_HTTP": "9100",
    "CREDIT_MONITOR_PORT_9100_TCP": "tcp://10.0.0.1:9100",
    "CREDIT_MONITOR_PORT_9100_TCP_PROTO": "tcp",
    "CREDIT_MONITOR_PORT_9100_TCP_PORT": "9100",
    "CREDIT_MONITOR_PORT_9100_TCP_ADDR": "10.0.0.1",
    "CREDIT_MONITOR_WEB_SERVICE_HOST": "10.0.0.2",
    "CREDIT_MONITOR_WEB_PORT": "tcp://10.0.0.2:80",
    "CREDIT_MONITOR_WEB_PORT_80_UDP_ADDR": "10.0.0.2",
}


def test_what_kubernetes_sets_for_a_service_is_ignored_with_one_line(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    settings = load(None, HOME | LINKS | {"STABILITY_API_KEY": KEY})
    assert list(settings.accounts) == ["default"]
    (line,) = [record.getMessage() for record in caplog.records]
    assert line.startswith("ignored, as Kubernetes sets them for a service and they are no settings: ")
    assert sorted(line.partition("settings: ")[2].split(", ")) == sorted(LINKS)


@pytest.mark.parametrize("name", ["ACCOUNTS__STUDIO__PORT", "WEB__PORT", "POLL__SERVICE_PORT"])
def test_a_setting_that_does_not_exist_is_no_service_link(name: str) -> None:
    (error,) = mistakes(None, {f"CREDIT_MONITOR_{name}": "1", "STABILITY_API_KEY": KEY})
    assert "unknown setting" in error


def test_values_of_the_environment_are_trimmed(tmp_path: Path) -> None:
    (tmp_path / "c.toml").write_text("[accounts.studio]\n")
    given = {
        "CREDIT_MONITOR_CONFIG": f" {tmp_path / 'c.toml'}\r\n",
        "CREDIT_MONITOR_TIMEZONE": " Europe/Berlin\r\n",
        "CREDIT_MONITOR_POLL__EVERY": "\t90s ",
        "CREDIT_MONITOR_DATABASE__MIGRATE": " manual ",
        "CREDIT_MONITOR_RULES__CONFIRM_CHECKS": " 3\n",
        "CREDIT_MONITOR_RULES__CREDITS": " { warning = 7 }\n",
        "CREDIT_MONITOR_ACCOUNTS__STUDIO__GENERATION": "v1alpha\n",
        "CREDIT_MONITOR_ACCOUNTS__STUDIO__API_KEY": f" {KEY}\n",
    }
    settings = load(None, HOME | given)
    assert (settings.timezone.key, settings.poll.every.total_seconds()) == ("Europe/Berlin", 90)
    assert (settings.database.migrate, settings.rules.confirm_checks) == ("manual", 3)
    assert [rung.below for rung in settings.rules.credits] == [7]
    assert settings.accounts["studio"].generation == "v1alpha"
    assert settings.api_key("studio") == KEY
    assert load(None, HOME | {"STABILITY_API_KEY": f"\t{KEY}\n"}).api_key("default") == KEY


QUOTED = "is in quotes, which are part of a value here; write it without them"


@pytest.mark.parametrize("quote", ['"', "'"])
@pytest.mark.parametrize(
    ("variable", "value", "key"),
    [
        ("CREDIT_MONITOR_POLL__EVERY", "5m", "poll.every"),
        ("CREDIT_MONITOR_ACCOUNTS__DEFAULT__BASE_URL", "https://api.stability.ai", "accounts.default.base_url"),
        ("CREDIT_MONITOR_CHANNELS__OPS__URL", f"json://{CANARY}", "channels.ops.url"),
        ("CREDIT_MONITOR_RULES__CREDITS", "off", "rules.credits"),
        ("STABILITY_API_KEY", CANARY, "accounts.default.api_key"),
    ],
)
def test_quotes_that_belong_to_a_shell_are_named(variable: str, value: str, key: str, quote: str) -> None:
    errors = mistakes(None, {"STABILITY_API_KEY": KEY} | {variable: f"{quote}{value}{quote} "})
    assert errors == [f"environment {variable}: {key}: {QUOTED}"]


def test_quotes_in_a_file_with_a_secret_are_named(tmp_path: Path) -> None:
    (tmp_path / "studio.key").write_text(f'"{CANARY}"\n')
    (tmp_path / "c.toml").write_text('[accounts.studio]\napi_key_file = "studio.key"\n')
    with pytest.raises(ConfigError, match=r"studio\.key: is in quotes; write the secret without them") as error:
        load(tmp_path / "c.toml", HOME).api_key("studio")
    assert CANARY not in str(error.value)


@pytest.mark.parametrize(
    ("variable", "value", "expected"),
    [
        ("POL__EVERY", "5m", "pol: unknown setting; did you mean CREDIT_MONITOR_POLL__EVERY?"),
        ("POLL_EVERY", "5m", "poll_every: unknown setting; did you mean CREDIT_MONITOR_POLL__EVERY?"),
        ("TIME_ZONE", "UTC", "time_zone: unknown setting; did you mean CREDIT_MONITOR_TIMEZONE?"),
        ("XYZ", "1", f"xyz: unknown setting; expected one of {TABLES}"),
        ("", "1", f"unknown setting; expected one of {TABLES}"),
        (
            "ACCOUNT__STUDIO__API_KEY",
            CANARY,
            "account: unknown setting; did you mean CREDIT_MONITOR_ACCOUNTS__STUDIO__API_KEY?",
        ),
        (
            "ACCOUNTS__STUDIO__APIKEY",
            CANARY,
            "accounts.studio.apikey: unknown setting; did you mean CREDIT_MONITOR_ACCOUNTS__STUDIO__API_KEY?",
        ),
        ("ACCOUNTS__STUDIO", CANARY, "accounts.studio: expected a table"),
        ("ACCOUNTS__STUDIO__API_KEY", "", "accounts.studio.api_key: is empty"),
        ("POLL__EVERY", "5", f"poll.every: {NO_UNIT}"),
        ("POLL", "5m", "poll: expected a table"),
        ("RULES__CREDITS", "{ warning = ", f"rules.credits: {LEVELS}"),
        ("RULES__CREDITS__WARNING", "many", f"rules.credits.warning: {CREDITS}"),
        ("RULES__CONFIRM_CHECKS", "0", "rules.confirm_checks: expected a whole number from 1 to 1000"),
        ("ORGANIZATIONS__X__NOTIFY", "", "organizations.x.notify: is empty"),
        ("ORGANIZATIONS__X__NOTIFY", CANARY, f"organizations.x.notify.1: {NO_CHANNEL}"),
    ],
)
def test_a_mistake_in_a_variable_names_the_variable(variable: str, value: str, expected: str) -> None:
    name = f"CREDIT_MONITOR_{variable}"
    errors = mistakes(None, {name: value, "STABILITY_API_KEY": KEY})
    assert errors == [f"environment {name}: {expected}"]


def test_a_mistake_in_a_credential_names_the_credential(tmp_path: Path) -> None:
    (tmp_path / "credit_monitor_poll__every").write_text("often")
    errors = mistakes(None, {"CREDENTIALS_DIRECTORY": str(tmp_path)})
    assert errors == [f"$CREDENTIALS_DIRECTORY/credit_monitor_poll__every: poll.every: {LENGTH}"]
    (tmp_path / "credit_monitor_poll__every").write_bytes(b"\xff")
    errors = mistakes(None, {"CREDENTIALS_DIRECTORY": str(tmp_path)})
    assert errors == ["$CREDENTIALS_DIRECTORY/credit_monitor_poll__every: poll.every: is not UTF-8 text"]


def test_a_broken_key_of_the_environment_is_a_mistake() -> None:
    expected = "accounts.default.api_key: holds a line break or another character that cannot be printed"
    assert mistakes(None, {"STABILITY_API_KEY": f"{CANARY}\nx"}) == [f"environment STABILITY_API_KEY: {expected}"]


def test_files_that_cannot_be_read_are_told_by_their_path(tmp_path: Path) -> None:
    gone = tmp_path / "gone.toml"
    assert mistakes(gone, {}) == [f"{gone}: cannot be read: no such file or directory"]
    assert mistakes(None, {"CREDIT_MONITOR_CONFIG": str(gone)}) == mistakes(gone, {})
    assert mistakes(tmp_path, {}) == [f"{tmp_path}: cannot be read: is a directory"]
    expected = ["$CREDENTIALS_DIRECTORY: cannot be read: no such file or directory"]
    assert mistakes(None, {"CREDENTIALS_DIRECTORY": str(gone)}) == expected


def test_a_container_without_a_secret_has_no_directory_of_them(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    environ = {"CREDENTIALS_DIRECTORY": str(tmp_path / "secrets"), "STABILITY_API_KEY": KEY}
    monkeypatch.setattr("monitor.config.sources.SECRETS_OF_CONTAINER", tmp_path / "secrets")
    assert list(load(None, environ | {"STATE_DIRECTORY": str(tmp_path)}).accounts) == ["default"]


def test_a_key_alone_may_be_a_credential(tmp_path: Path) -> None:
    (tmp_path / "stability_api_key").write_text(f"{KEY}\n")
    (tmp_path / "CREDIT_MONITOR_CHANNELS__DEFAULT__URL").write_text("json://localhost/")
    environ = {"CREDENTIALS_DIRECTORY": str(tmp_path), "STATE_DIRECTORY": str(tmp_path)}
    settings = load(None, environ)
    assert settings.api_key("default") == KEY
    assert list(settings.channels) == ["default"]


def test_a_file_nobody_may_read_is_told_by_its_path(tmp_path: Path) -> None:
    path = tmp_path / "locked.toml"
    path.write_text("")
    path.chmod(0)
    user = os.geteuid()
    os.seteuid(user or 65534)  # root may read everything
    try:
        (line,) = mistakes(path, {})
        assert line.startswith(f"{path}: cannot be read: permission denied; /")
    finally:
        os.seteuid(user)


def test_a_missing_file_is_no_mistake_where_none_is_named() -> None:
    assert load(None, HOME | {"XDG_CONFIG_HOME": "/nonexistent"}).file is None


def test_without_any_home_the_database_has_no_place() -> None:
    with pytest.raises(ConfigError, match=r"database\.url: is missing"):
        load(None, {"STABILITY_API_KEY": KEY})


def test_all_mistakes_are_told_at_once_and_in_the_order_of_the_file(tmp_path: Path) -> None:
    text = """timezon = "UTC"
[poll]
every = 5
[rules]
credits = { warning = 1, critical = 2 }
stale_after = "1s"
[accounts.studio]
base_url = "nowhere"
[organizations.a]
account = "attic"
notify = ["ops"]
[organizations.b]
id = "org-b"
account = 5
[organizations.b.rules]
stale_aftr = "5m"
[channels.a]
url = "x"
url_file = "y"
"""
    errors = in_file(tmp_path, text, {"CREDIT_MONITOR_XYZ": "1"})
    assert [line.split(": ")[:2] for line in errors] == [
        [":1", "timezon"],
        [":3", "poll.every"],
        [":5", "rules.credits.critical"],
        [":8", "accounts.studio.base_url"],
        [":10", "organizations.a.account"],
        [":11", "organizations.a.notify.1"],
        [":14", "organizations.b.account"],
        [":16", "organizations.b.rules.stale_aftr"],
        [":18", "channels.a.url"],
        ["environment CREDIT_MONITOR_XYZ", "xyz"],
    ]


def test_what_follows_from_another_mistake_is_not_told(tmp_path: Path) -> None:
    text = "[account.studio]\n[organizations.a]\naccount = 'studio'\n[organizations.b]\nid = 5"
    assert in_file(tmp_path, text) == [
        ":1: account: unknown setting; did you mean accounts?",
        ":5: organizations.b.id: expected text in quotes",
    ]
