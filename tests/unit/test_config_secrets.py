"""Secrets of the configuration stay unread until they are needed, and unseen always; the command `config`."""

import logging
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from given import CANARY, KEY, Given
from wait import LONG

from monitor.config import Database
from monitor.config.secrets import exposure
from monitor.errors import ConfigError


@pytest.fixture
def given(tmp_path: Path) -> Given:
    return Given(tmp_path)


# --- secrets ----------------------------------------------------------------------------------------------------------

SECRETIVE = f"""
database.url = "postgresql://me:{CANARY}@db/credits?sslpassword={CANARY}"
[accounts.studio]
api_key = "{CANARY}"
proxy = "http://me:{CANARY}@proxy:3128"
organizations = "all"
[channels.ops]
url = "slack://{CANARY}"
"""


def test_no_secret_is_in_what_is_shown_or_printed(given: Given, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG):
        settings = given.load(SECRETIVE)
        assert settings.api_key("studio") == CANARY
    shown = [repr(settings), str(given.sources(SECRETIVE)), str(settings.warnings), caplog.text]
    shown += [repr(settings.keys), repr(settings.urls), settings.database.shown_url]
    assert CANARY not in "".join(shown)
    assert settings.database.shown_url == "postgresql://me:***@db/credits?sslpassword=***"
    assert "does not look like a usual key" in caplog.text


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("postgresql://db/credits", "postgresql://db/credits"),
        (
            "postgresql://me@db/credits?sslmode=verify-full&host=/run",
            "postgresql://me@db/credits?sslmode=verify-full&host=/run",
        ),
        ("postgresql://me@db/credits?passwor%64=PW", "postgresql://me@db/credits?passwor%64=***"),
        (
            "postgresql://me@db/credits?oauth_client_secret=PW&a_new_option=PW",
            "postgresql://me@db/credits?oauth_client_secret=***&a_new_option=***",
        ),
        ("postgresql://me:P/W?P:W@db/credits", "postgresql://me:***@db/credits"),
        ("sqlite:////var/lib/monitor.db", "sqlite:////var/lib/monitor.db"),
    ],
)
def test_a_database_is_shown_with_what_is_known_to_be_no_secret(url, shown):
    assert Database(url).shown_url == shown


def test_a_secret_that_stands_in_the_file_is_warned_about(given: Given) -> None:
    given.file.touch(0o600)
    settings = given.load(SECRETIVE)
    where = given.file
    assert [w.partition(": the secret")[0] for w in settings.warnings] == [
        f"{where}:4: accounts.studio.api_key",
        f"{where}:8: channels.ops.url",
    ]
    assert given.load("[accounts.a]\norganizations = 'all'", CREDIT_MONITOR_ACCOUNTS__A__API_KEY=KEY).warnings == ()


@pytest.mark.parametrize(
    ("mode", "text", "warned"),
    [
        (0o600, SECRETIVE, None),
        (0o640, SECRETIVE, None),
        (
            0o644,
            SECRETIVE,
            (
                "holds database.url, accounts.studio.api_key, accounts.studio.proxy, channels.ops.url "
                "and can be read by everybody here; chmod 600"
            ),
        ),
        (0o644, "poll.every = '1m'", None),
        (0o646, "poll.every = '1m'", "can be changed by everybody here; chmod o-w"),
        (0o646, "database.url = 'postgresql://me@db/x?password=y'", "chmod 600"),
        (0o644, "database.url = 'postgresql://me@db/x'", None),
    ],
)
def test_a_file_with_secrets_that_is_open_to_all_is_warned_about(
    given: Given, mode: int, text: str, warned: str | None
) -> None:
    given.file.touch()
    given.file.chmod(mode)
    about = [warning for warning in given.load(text).warnings if "everybody here" in warning]
    assert bool(about) is bool(warned)
    if warned:
        assert about[0].startswith(f"{given.file}: ")
        assert warned in about[0]
        assert about[0].endswith(str(given.file))


def test_an_account_that_watches_nothing_is_warned_about(given: Given) -> None:
    assert "watches nothing" in given.load("[accounts.studio]").warnings[0]
    assert given.load('[accounts.studio]\n[organizations.a]\nid = "org-a"').warnings == ()


def test_settings_are_there_although_no_secret_can_be_read(given: Given) -> None:
    (given.folder / "locked").mkdir()
    text = '[accounts.studio]\napi_key_file = "locked"\n[channels.ops]\nurl_file = "gone"\n[channels.mail]'
    settings = given.load(text)
    with pytest.raises(ConfigError) as unreadable:
        settings.api_key("studio")
    path = given.folder / "locked"
    expected = f"{given.file}:2: accounts.studio.api_key_file: {path}: cannot be read: is a directory"
    assert str(unreadable.value) == expected
    with pytest.raises(ConfigError, match="cannot be read: no such file"):
        settings.channel_url("ops")
    with pytest.raises(ConfigError) as missing:
        settings.channel_url("mail")
    hint = "set url_file, or give it as the environment variable or credential CREDIT_MONITOR_CHANNELS__MAIL__URL"
    assert str(missing.value) == f"{given.file}:5: channels.mail.url: is missing; {hint}"


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"", "is empty"),
        (b" \n", "is empty"),
        (b"sk-a\nsk-b", "is not one line of text"),
        (b"\xff\xfe", "is not one line of text"),
        (b"Bearer " + CANARY.encode(), "is not a key: expected letters and digits without spaces"),
        (f"{CANARY}ключ".encode(), "is not a key: expected letters and digits without spaces"),
    ],
)
def test_a_key_file_without_a_key_is_a_mistake(given: Given, content: bytes, problem: str) -> None:
    (given.folder / "studio.key").write_bytes(content)
    (given.folder / "studio.key").chmod(0o600)
    settings = given.load('[accounts.studio]\napi_key_file = "studio.key"')
    with pytest.raises(ConfigError) as error:
        settings.api_key("studio")
    assert str(error.value).endswith(problem)
    assert CANARY not in str(error.value)


def test_a_key_that_everybody_can_read_is_warned_about(given: Given, caplog: pytest.LogCaptureFixture) -> None:
    file = given.folder / "studio.key"
    file.write_text("\ufeff" + KEY + "\r\n")
    settings = given.load('[accounts.studio]\napi_key_file = "studio.key"')
    for mode, warned in ((0o600, False), (0o640, False), (0o644, True)):
        file.chmod(mode)
        caplog.clear()
        assert settings.api_key("studio") == KEY
        assert ("can be read by everybody" in caplog.text) is warned


def test_who_may_read_a_credential_is_the_service_managers_business(
    given: Given, caplog: pytest.LogCaptureFixture
) -> None:
    environ = given.credentials(credit_monitor_accounts__a__api_key=KEY)
    (given.folder / "credentials/credit_monitor_accounts__a__api_key").chmod(0o644)
    assert given.load("[accounts.a]\norganizations = 'all'", **environ).api_key("a") == KEY
    assert "everybody" not in caplog.text
    assert exposure(Path("/run/secrets/studio.key"), 0o444) is None


# --- the command ------------------------------------------------------------------------------------------------------


def credit_monitor(folder: Path, *arguments: str, **environ: str) -> Any:
    """The real command in a process of its own."""
    kept = {"PATH": os.environ["PATH"], "HOME": str(folder), "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
    command = [sys.executable, "-m", "monitor", "config", *arguments]
    return subprocess.run(
        command, check=False, cwd=folder, env=kept | environ, capture_output=True, text=True, timeout=LONG
    )


def test_a_newcomer_begins_validates_and_sees_what_is_missing(tmp_path: Path) -> None:
    begun = credit_monitor(tmp_path, "init")
    assert (begun.returncode, "config.toml: written" in begun.stdout) == (0, True)
    assert (tmp_path / "config.toml").stat().st_mode & 0o777 == 0o600
    assert credit_monitor(tmp_path, "init").returncode == 64
    process = credit_monitor(tmp_path, "validate", "--config", "config.toml")
    assert (process.returncode, process.stdout) == (78, "")
    keys = [line.split(": ")[1] for line in process.stderr.splitlines()]
    assert keys == ["accounts.studio.api_key_file", "channels.ops.url_file"]


def test_a_valid_configuration_is_called_valid(tmp_path: Path) -> None:
    (tmp_path / "key").write_text(KEY)
    (tmp_path / "key").chmod(0o600)
    (tmp_path / "c.toml").write_text('accounts.a = { api_key_file = "key", organizations = "all" }')
    process = credit_monitor(
        tmp_path, "validate", "--config", "c.toml", CREDIT_MONITOR_CHANNELS__X__URL="jsons://host/"
    )
    assert (process.returncode, process.stdout, process.stderr) == (0, "c.toml: valid (1 account, 1 channel)\n", "")


def test_a_mistake_ends_every_part_of_the_command_with_78(tmp_path: Path) -> None:
    for part in ("validate", "show"):
        process = credit_monitor(tmp_path, part, "--config", "gone.toml")
        assert (process.returncode, process.stdout) == (78, "")
        assert process.stderr == "gone.toml: cannot be read: no such file or directory\n"
    nothing = credit_monitor(tmp_path, "validate")
    assert (nothing.returncode, "STABILITY_API_KEY" in nothing.stderr) == (78, True)
