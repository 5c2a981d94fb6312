import stat
from pathlib import Path
from typing import Final

# --- who may read a file ----------------------------------------------------------------------------------------------


MOUNTED: Final = ("/run/credentials/", "/run/secrets/")


def exposure(path: Path, mode: int, *, writable_only: bool = False) -> str | None:
    """What everybody here may do with a file of this mode, and how to end it; None when nothing."""
    if str(path).startswith(MOUNTED):
        return None
    if mode & stat.S_IWOTH:
        return f"can be changed by everybody here; chmod {'o-w' if writable_only else '600'} {path}"
    if mode & stat.S_IROTH and not writable_only:
        return f"can be read by everybody here; chmod 600 {path}"
    return None
