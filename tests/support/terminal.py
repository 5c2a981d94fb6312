"""A command in a terminal of its own: what a person sees, line by line."""

import fcntl
import os
import pty
import re
import struct
import subprocess
import termios
from collections.abc import Mapping, Sequence


def in_terminal(arguments: Sequence[str], environ: Mapping[str, str], *, columns: int = 80) -> tuple[int, list[str]]:
    """Run a command to its end in a terminal so many columns wide; return its exit code, and its lines."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    process = subprocess.Popen(
        arguments, stdin=theirs, stdout=theirs, stderr=theirs, env=dict(environ), start_new_session=True
    )
    os.close(theirs)
    content = b""
    while True:
        try:
            part = os.read(ours, 65536)
        except OSError:  # Linux's way to say that nobody has the other end any more
            break
        if not part:
            break
        content += part
    os.close(ours)
    text = re.sub(r"\x1b\[[0-9;]*[A-Za-z]", "", content.decode(errors="replace"))
    return process.wait(), text.replace("\r\n", "\n").rstrip("\n").split("\n")
