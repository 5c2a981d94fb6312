"""Secrets of the configuration stay unread until they are needed, and unseen always; the command `config`."""

import base64
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
from monitor.config.exposure import exposure, insecure_heartbeat
from monitor.errors import ConfigError
from monitor.text.redaction import redact


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
    assert [w.partition(": the secret")[0] for w in settings.warnings if ": the secret" in w] == [
        f"{where}:4: accounts.studio.api_key",
        f"{where}:8: channels.ops.url",
    ]
    assert given.load("[accounts.a]\norganizations = 'all'", CREDIT_MONITOR_ACCOUNTS__A__API_KEY=KEY).warnings == ()


@pytest.mark.parametrize(
    ("mode", "text", "warned"),
    [
        (0o600, SECRETIVE, None),
        (0o640, SECRETIVE, "and can be read by its group"),
        (
            0o644,
            SECRETIVE,
            (
                "holds database.url, accounts.studio.api_key, accounts.studio.proxy, channels.ops.url "
                "and can be read by everybody here; chmod 600"
            ),
        ),
        (0o644, "poll.every = '1m'", None),
        (0o646, "poll.every = '1m'", "can be changed by everybody here; chmod go-w"),
        (0o646, "database.url = 'postgresql://me@db/x?password=y'", "chmod 600"),
        (0o644, "database.url = 'postgresql://me@db/x'", None),
    ],
)
def test_a_file_with_secrets_that_is_open_to_all_is_warned_about(
    given: Given, mode: int, text: str, warned: str | None
) -> None:
    given.file.touch()
    given.file.chmod(mode)
    about = [warning for warning in given.load(text).warnings if " can be " in warning]
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


ALL_FILES = """
heartbeat_url_file = "beat.url"
[web]
listen = 9464
token_file = "token"
[accounts.a]
api_key_file = "a.key"
ca_file = "ca.pem"
organizations = "all"
[channels.ops]
url_file = "ops.url"
"""
SECRET_FILES = {
    "accounts.a.api_key_file": "a.key",
    "channels.ops.url_file": "ops.url",
    "heartbeat_url_file": "beat.url",
    "web.token_file": "token",
}


@pytest.fixture
def files(given: Given) -> Given:
    given.file.write_text(ALL_FILES)
    for name in (*SECRET_FILES.values(), "ca.pem", "config.toml"):
        (given.folder / name).touch()
        (given.folder / name).chmod(0o600)
    return given


@pytest.mark.parametrize(
    ("mode", "problem"),
    [
        (0o600, None),
        (0o400, None),
        (0o604, "can be read by everybody here"),
        (0o602, "can be changed by everybody here"),
        (0o640, "can be read by its group"),
        (0o620, "can be changed by its group"),
    ],
)
def test_every_file_of_a_secret_that_others_may_use_is_named(files: Given, mode: int, problem: str | None) -> None:
    for name in SECRET_FILES.values():
        (files.folder / name).chmod(mode)
    warnings = files.load(ALL_FILES).warnings
    assert len(warnings) == (len(SECRET_FILES) if problem else 0)
    for key, warning in zip(SECRET_FILES, warnings, strict=False):
        path = files.folder / SECRET_FILES[key]
        assert warning.startswith(f"{key}: {path} {problem}")
        assert warning.endswith(f"; chmod 600 {path}")


def test_certificates_may_be_read_and_not_changed_by_others(files: Given) -> None:
    (files.folder / "ca.pem").chmod(0o644)
    assert files.load(ALL_FILES).warnings == ()
    (files.folder / "ca.pem").chmod(0o666)
    (warning,) = files.load(ALL_FILES).warnings
    assert warning.startswith("accounts.a.ca_file: ")


def test_a_directory_in_which_others_may_put_another_file_is_named_once(files: Given) -> None:
    for mode, named in ((0o755, 0), (0o1777, 0), (0o777, 1), (0o1755, 0)):
        files.folder.chmod(mode)
        warnings = files.load(ALL_FILES).warnings
        assert len(warnings) == named
        assert all(warning.endswith(f"; chmod go-w {files.folder}") for warning in warnings)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
def test_root_may_give_a_file_to_the_group_of_one_service(files: Given, monkeypatch: pytest.MonkeyPatch) -> None:
    file = files.folder / "a.key"
    os.chown(file, 0, 54321)
    file.chmod(0o640)
    for members, warned in ((set(), 0), ({7}, 0), ({7, 8}, 1)):
        monkeypatch.setattr("monitor.config.exposure._members", lambda _, members=members: frozenset(members))
        assert len(files.load(ALL_FILES).warnings) == warned


def test_who_may_read_a_credential_is_the_service_managers_business(given: Given) -> None:
    environ = given.credentials(credit_monitor_accounts__a__api_key=KEY)
    (given.folder / "credentials/credit_monitor_accounts__a__api_key").chmod(0o644)
    settings = given.load("[accounts.a]\norganizations = 'all'", **environ)
    assert (settings.api_key("a"), settings.warnings) == (KEY, ())
    assert exposure(Path("/run/secrets/studio.key")) is None


def test_passwords_among_the_settings_are_redacted_before_anybody_uses_them(given: Given) -> None:
    given.load(
        'database.url = "postgresql://me:Kq7vWz2xJp9d@db/x"\naccounts.a.proxy = "http://me:Zx4kQw8vYt3m@proxy:3128"'
    )
    assert redact("they said Kq7vWz2xJp9d and " + base64.b64encode(b"Zx4kQw8vYt3m").decode()) == (
        "they said [redacted] and [redacted]"
    )


# --- on the wire ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("url", "warned"),
    [
        ("postgresql://me@db.example.org/x", True),
        ("postgresql://me:pw@db.example.org:5432/x", True),
        ("postgres://me@192.0.2.1/x?connect_timeout=2", True),
        ("postgresql+psycopg://me@localhost,db.example.org/x", True),
        ("postgresql://me@/x?host=db.example.org", True),
        ("postgresql://me@[2001:db8::1]:5432/x", True),
        ("postgresql://me@db.example.org/x?sslmode=verify-full&sslrootcert=system", False),
        ("postgresql://me@db.example.org/x?sslmode=disable", False),
        ("postgresql://me@localhost/x", False),
        ("postgresql://me@127.0.0.1:5432/x", False),
        ("postgresql://me@[::1]:5432/x", False),
        ("postgresql:///x", False),
        ("postgresql://me@/x?host=/run/postgresql", False),
        ("postgresql://me@%2Frun%2Fpostgresql/x", False),
        ("sqlite:////tmp/x.db", False),
    ],
)
def test_a_database_elsewhere_that_has_to_prove_nothing_is_named_with_what_to_write(
    given: Given, url: str, *, warned: bool
) -> None:
    warnings = given.load("", CREDIT_MONITOR_DATABASE__URL=url).warnings
    assert [warning.startswith("database.url: ") for warning in warnings] == [True] * warned
    if warned:
        assert f"write {'&' if '?' in url else '?'}sslmode=verify-full&sslrootcert=system at its end" in warnings[0]


@pytest.mark.parametrize(
    ("settings", "warned"),
    [
        ("proxy = 'http://me:pw@proxy.example:3128'", True),
        ("proxy = 'http://me:pw@proxy.example:3128'\nallow_http = true", False),
        ("proxy = 'https://me:pw@proxy.example:3128'", False),
        ("proxy = 'http://proxy.example:3128'", False),
        ("proxy = 'http://me:pw@127.0.0.1:3128'", False),
    ],
)
def test_a_proxy_whose_password_travels_in_clear_is_named(given: Given, settings: str, *, warned: bool) -> None:
    given.file.touch(0o600)
    warnings = given.load(f"[accounts.a]\norganizations = 'all'\n{settings}").warnings
    assert [warning.startswith("accounts.a.proxy: would send") for warning in warnings] == [True] * warned


@pytest.mark.parametrize(
    ("url", "warned"), [("http://hc.example/x", 1), ("https://hc.example/x", 0), ("http://[::1]/x", 0)]
)
def test_a_heartbeat_whose_address_travels_in_clear_is_named(files: Given, url: str, warned: int) -> None:
    (files.folder / "beat.url").write_text(url)
    assert len(insecure_heartbeat(files.load(ALL_FILES))) == warned
    text = ALL_FILES.replace('heartbeat_url_file = "beat.url"', "")
    settings = files.load(text, CREDIT_MONITOR_HEARTBEAT_URL=url)
    assert (len(settings.warnings), insecure_heartbeat(settings)) == (warned, [])
    assert not any("hc.example" in warning for warning in settings.warnings)


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
