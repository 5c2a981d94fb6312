"""A process whose wall clock can be stepped and whose host names can be made to fail, by a library compiled with gcc.

The machine's own clock and resolver stay as they are.
"""

import mmap
import os
import shutil
import struct
import subprocess
from pathlib import Path

SOURCE = Path(__file__).with_name("interpose.c")


class Interposed:
    """The library and the page it reads; `why_not` says why there is none."""

    def __init__(self, folder: Path) -> None:
        self._library = folder / "interpose.so"
        self._page = folder / "interpose.page"
        self.why_not = self._compile()
        self._page.write_bytes(bytes(16))
        self._page.chmod(0o644)
        with self._page.open("r+b") as file:
            self._memory = mmap.mmap(file.fileno(), 16)

    def _compile(self) -> str | None:
        compiler = shutil.which("gcc") or shutil.which("cc")
        if compiler is None:
            return "no C compiler"
        command = [compiler, "-shared", "-fPIC", "-O2", "-o", self._library, SOURCE, "-ldl"]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        return done.stderr.strip().splitlines()[-1] if done.returncode else None

    @property
    def environment(self) -> dict[str, str]:
        """What the process is given."""
        return {} if self.why_not else {"LD_PRELOAD": str(self._library), "FAULTS_PAGE": str(self._page)}

    def step_clock(self, seconds: float) -> None:
        """Step the wall clock from where it is now."""
        self._write(0, self.offset + round(seconds * 1e9))

    def fail_names(self, *, failing: bool) -> None:
        """Let every host name fail, or not."""
        self._write(8, int(failing))

    @property
    def offset(self) -> int:
        """How far the wall clock is off, in nanoseconds."""
        return int(struct.unpack_from("q", self._memory, 0)[0])

    def _write(self, place: int, value: int) -> None:
        struct.pack_into("q", self._memory, place, value)

    def close(self) -> None:
        self._memory.close()

    def run(self, *command: str | os.PathLike[str], days: float) -> None:
        """Run a program so many days from now, to its end."""
        self._write(0, round(days * 86_400e9))
        try:
            subprocess.run(command, env=os.environ | self.environment, check=True, capture_output=True)
        finally:
            self._write(0, 0)
