"""Whose a file is: new ones belong to the owner of their directory, and who is refused is told who may.

Root beside the service would otherwise leave files that the service cannot open.
"""

import grp
import os
import pwd
import stat
from pathlib import Path

COMMAND = "credit-monitor …"


def create_file(path: Path) -> int:
    """Create a file for its owner alone, and return its descriptor; raise `FileExistsError` where there is one.

    As root it is given to whom the directory belongs; never one that was there already, which may lead elsewhere.
    """
    descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_CLOEXEC, 0o600)
    _give_to_owner(descriptor, path.parent)
    return descriptor


def create_empty_file(path: Path) -> None:
    """Create a file for its owner alone; raise `FileExistsError` where there is one."""
    os.close(create_file(path))


def create_directory(path: Path) -> None:
    """Create a directory, and those above it, for their owner alone; one that exists is left as it is."""
    missing = [each for each in (path, *path.parents) if not each.exists()]
    for each in reversed(missing):
        each.mkdir(mode=0o700, exist_ok=True)
        descriptor = os.open(each, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
        try:
            _give_to_owner(descriptor, each.parent)
        finally:
            os.close(descriptor)


def _give_to_owner(descriptor: int, directory: Path) -> None:
    if os.geteuid() == 0 and (owner := directory.stat()).st_uid != 0:
        os.fchown(descriptor, owner.st_uid, owner.st_gid)


def remedy(path: Path, *, write: bool = False) -> str | None:
    """Return who may use a file that this user may not, with the command; None where nobody is in the way."""
    blocker = _blocker(Path(os.path.realpath(path)), write=write)
    if blocker is None:
        return None
    status, me = blocker.stat(), os.geteuid()
    owner = user_name(status.st_uid)
    if status.st_uid == me:
        return f"{blocker} is yours, and closed to you: chmod u+rwX {blocker}"
    if blocker.parent.stat().st_uid == me != 0:  # what root left in our own directory
        return f"{blocker} belongs to {owner}: sudo chown {user_name(me)} {blocker}"
    how = f"sudo {COMMAND}" if status.st_uid == 0 else f"sudo -u {owner} {COMMAND}"
    group = _group_that_may(status, write=write)
    joined = f"usermod -aG {group} {user_name(me)}, or " if group else ""
    return f"{blocker} belongs to {owner}: {joined}{how}"


def _blocker(path: Path, *, write: bool) -> Path | None:
    """Return the directory above that this user may not search, else the file when it may not be used."""
    for directory in reversed(path.parents):
        if not _may(directory, os.X_OK):
            return directory if directory.exists() else None
    wanted = os.R_OK | (os.W_OK if write else 0)
    if path.exists():
        if not _may(path, wanted):
            return path
        return None if _may(path.parent, wanted) or not write else path.parent
    above = next(each for each in path.parents if each.exists())
    return None if _may(above, os.W_OK | os.X_OK) or not write else above


def _may(path: Path, mode: int) -> bool:
    return os.access(path, mode, effective_ids=True)


def _group_that_may(status: os.stat_result, *, write: bool) -> str | None:
    """Return the group whose members may use it; None for root's, and where it may not."""
    needed = stat.S_IRGRP | (stat.S_IWGRP if write else 0) | (stat.S_IXGRP if stat.S_ISDIR(status.st_mode) else 0)
    if status.st_gid == 0 or status.st_mode & needed != needed:
        return None
    try:
        return grp.getgrgid(status.st_gid).gr_name
    except KeyError:
        return None


def user_name(uid: int) -> str:
    """Return the name of a user, or its number as sudo takes it."""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"'#{uid}'"
