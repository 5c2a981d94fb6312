"""Files that root makes beside the service, and what a user who may not use them is told; as real users."""

import os
import pickle
import pwd
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from given import HOME, KEY

from monitor.config import load
from monitor.config import service as of_service
from monitor.errors import ConfigError, DatabaseError
from monitor.store import engines, leader_lock, migrate
from monitor.store.backup import atomic_file
from monitor.store.file_access import create_file, remedy
from monitor.store.writer import Store

NOBODY = pwd.getpwnam("nobody")
root_only = pytest.mark.skipif(os.geteuid() != 0, reason="only root has other users' files")


def as_user(user: pwd.struct_passwd, ask: Callable[[], Any]) -> Any:
    """What a function returns, or raises, in a process of this user."""
    reading, writing = os.pipe()
    if (child := os.fork()) == 0:
        os.setgroups([])
        os.setgid(user.pw_gid)
        os.setuid(user.pw_uid)
        try:
            result = ask()
        except Exception as error:  # noqa: BLE001 -- the parent looks at it
            result = error
        os.write(writing, pickle.dumps(result))
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading, "rb") as source:
        content = source.read()
    os.waitpid(child, 0)
    return pickle.loads(content)


@pytest.fixture
def state() -> Iterator[Path]:
    """The service's state directory: of user nobody, closed to all others."""
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o755)
    state = folder / "state"
    state.mkdir(mode=0o700)
    os.chown(state, NOBODY.pw_uid, NOBODY.pw_gid)
    yield state
    shutil.rmtree(folder)


@root_only
def test_whatever_root_makes_belongs_to_whom_the_directory_belongs(state):
    url = f"sqlite:///{state / 'deep' / 'm.db'}"
    store = Store(url)
    migrate.upgrade(store.engine)
    lock = leader_lock.acquire(url)
    assert lock
    with atomic_file(state / "backup.db"):
        pass
    store.close()
    lock.release()
    made = {path.name: path.stat() for path in (*state.iterdir(), *(state / "deep").iterdir())}
    assert {"deep", "m.db", "m.db.lock", "backup.db"} <= set(made)
    assert {(status.st_uid, status.st_gid) for status in made.values()} == {(NOBODY.pw_uid, NOBODY.pw_gid)}
    assert as_user(NOBODY, lambda: leader_lock.acquire(url) is not None)


@root_only
def test_a_link_in_the_place_of_a_file_gives_nothing_away(state):
    theirs = state.parent / "shadow"
    theirs.write_text("secret")
    (state / "m.db.lock").symlink_to(theirs)
    with pytest.raises(FileExistsError):
        create_file(state / "m.db.lock")
    with pytest.raises(DatabaseError, match="is a symbolic link, which is not followed; remove it"):
        leader_lock.FileLock(state / "m.db.lock").acquire()
    assert (theirs.stat().st_uid, theirs.read_text()) == (0, "secret")
    theirs.unlink()
    with pytest.raises(DatabaseError, match="is a symbolic link, which is not followed; remove it"):
        leader_lock.FileLock(state / "m.db.lock").acquire()
    assert not theirs.exists()


@root_only
def test_a_user_who_may_not_is_told_whose_it_is_and_the_command(state):
    other = pwd.getpwnam("daemon")
    url = f"sqlite:///{state / 'm.db'}"
    Store(url).close()

    def read() -> None:
        reader = engines.open_reader(url)
        with engines.transaction(reader):
            pass

    error = as_user(other, read)
    assert isinstance(error, DatabaseError)
    assert str(error).endswith(
        f"may not be used by this user; {state} belongs to nobody: sudo -u nobody credit-monitor …"
    )
    assert as_user(other, lambda: remedy(state / "m.db")).startswith(f"{state} belongs to nobody: ")
    assert as_user(NOBODY, lambda: remedy(state / "m.db", write=True)) is None

    os.chown(state, NOBODY.pw_uid, pwd.getpwnam("games").pw_gid)
    state.chmod(0o770)
    assert "usermod -aG games daemon, or sudo -u nobody" in as_user(other, lambda: remedy(state / "m.db", write=True))

    os.chown(state / "m.db", 0, 0)
    assert as_user(NOBODY, read).args[0].endswith(f"{state}/m.db belongs to root: sudo chown nobody {state}/m.db")

    secret = state.parent / "c.toml"
    secret.touch(0o600)
    assert as_user(other, lambda: remedy(secret)) == f"{secret} belongs to root: sudo credit-monitor …"


def test_beside_the_service_its_credentials_are_used_or_the_way_to_them_is_told(tmp_path, monkeypatch):
    file, credentials, unit = tmp_path / "config.toml", tmp_path / "credentials", tmp_path / "credit-monitor.service"
    file.write_text("[accounts.studio]\n")
    unit.touch()
    monkeypatch.setattr(of_service, "FILE", file)
    monkeypatch.setattr(of_service, "CREDENTIALS_OF_UNIT", credentials)
    monkeypatch.setattr(of_service, "STATE", tmp_path / "state")
    (tmp_path / "state").mkdir()
    environ = of_service.service_environ(file, HOME)
    assert environ == {**HOME, "STATE_DIRECTORY": str(tmp_path / "state")}
    with pytest.raises(ConfigError, match="is missing; set api_key_file"):
        load(file, environ).api_key("studio")  # there is no such unit
    monkeypatch.setattr(of_service, "UNITS", (unit,))
    for user, said in ((0, "while it runs: systemctl start credit-monitor"), (1000, "sudo credit-monitor …")):
        monkeypatch.setattr(os, "geteuid", lambda user=user: user)
        with pytest.raises(ConfigError, match=said):
            load(file, environ).api_key("studio")
    credentials.mkdir()
    (credentials / "CREDIT_MONITOR_ACCOUNTS__STUDIO__API_KEY").write_text(KEY)
    settings = load(file, of_service.service_environ(file, HOME))
    assert settings.api_key("studio") == KEY
    assert settings.database.url == f"sqlite:///{tmp_path / 'state' / 'credit-monitor.db'}"
