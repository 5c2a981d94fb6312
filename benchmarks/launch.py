"""Runs a command and writes what it cost; small itself, because a child begins with its parent's peak of memory.

`python -I -S launch.py FILE COMMAND…` writes exit code, CPU seconds and peak KiB to FILE.
"""

import os
import sys

if __name__ == "__main__":
    file, *command = sys.argv[1:]
    pid = os.fork()
    if pid == 0:
        os.execv(command[0], command)
    _, status, used = os.wait4(pid, 0)
    with open(file, "w") as target:  # noqa: PTH123  # pathlib would cost more than the rest
        target.write(f"{os.waitstatus_to_exitcode(status)} {used.ru_utime + used.ru_stime} {used.ru_maxrss}")
