"""What the kernel says of a process and what it logged: memory, descriptors, threads, lines."""

import re
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

STAMP = re.compile(r"^\S+Z \w+\s+", re.MULTILINE)
SERIOUS = re.compile(r"^\S+Z (?:WARNING|ERROR|CRITICAL)\s+(.*)$", re.MULTILINE)
OF_INCIDENTS = re.compile(r": (?:credits|access|credential|stale|outage|runway) (?:opened|escalated|eased|resolved) ")


@dataclass(frozen=True)
class Sample:
    """One look at a process."""

    memory: float  # PSS, MiB
    descriptors: int
    threads: int
    wakeups: int  # voluntary context switches since its start


def sample(pid: int) -> Sample:
    """Look at a process; `ProcessLookupError` or `FileNotFoundError` when it is gone."""
    folder = Path(f"/proc/{pid}")
    rolled = (folder / "smaps_rollup").read_text()
    threads = list((folder / "task").iterdir())
    switches = (re.search(r"^voluntary_ctxt_switches:\s*(\d+)", _status(thread), re.MULTILINE) for thread in threads)
    pss = re.search(r"^Pss:\s+(\d+)", rolled, re.MULTILINE)
    assert pss
    return Sample(
        int(pss.group(1)) / 1024,
        len(list((folder / "fd").iterdir())),
        len(threads),
        sum(int(match.group(1)) for match in switches if match),
    )


def _status(thread: Path) -> str:
    try:
        return (thread / "status").read_text()
    except OSError:
        return ""


@dataclass(frozen=True)
class Logged:
    """What was logged meanwhile, without the lines that announce incidents."""

    lines: int  # warnings and worse
    distinct: int
    repeated: int  # how often the most frequent one came
    tracebacks: int
    text: str

    def names(self, cause: str) -> int:
        """How many lines name a cause."""
        return len(re.findall(cause, self.text, re.MULTILINE | re.IGNORECASE))


def logs(folder: Path, names: str = "life-*.log") -> dict[Path, int]:
    """Every log of a stage, and how long it is."""
    return {path: path.stat().st_size for path in sorted(folder.glob(names))}


def logged_since(folder: Path, before: dict[Path, int], names: str = "life-*.log") -> Logged:
    """What was logged since a look at the logs."""
    text = ""
    for path, length in logs(folder, names).items():
        text += path.read_bytes()[min(before.get(path, 0), length) :].decode(errors="replace")
    serious = [line for line in SERIOUS.findall(text) if not OF_INCIDENTS.search(line)]
    counted = Counter(serious)
    return Logged(
        len(serious),
        len(counted),
        max(counted.values(), default=0),
        text.count("Traceback"),
        STAMP.sub("", text),
    )
