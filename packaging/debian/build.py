"""Build `dist/credit-monitor_VERSION_ARCH.deb`, one package for Debian 12 and 13.

`python packaging/debian/build.py [--version X] [--pythons 3.11,3.13] [--output DIRECTORY]`.  A virtual environment
looks for its libraries in `lib/python<running minor>` by itself: one tree with a directory for each serves both.
Needs pip's index or wheels (`PIP_FIND_LINKS`), dpkg-deb and strip; installs nothing on this machine.
"""

import argparse
import gzip
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Final

HERE: Final = Path(__file__).parent
REPOSITORY: Final = HERE.parents[1]
PYTHONS: Final = "3.11,3.13"
GLIBC: Final = ("2_28", "2_17")  # the oldest that wheels may ask for; the package's Depends says so, too
MACHINES: Final = {"amd64": "x86_64", "arm64": "aarch64"}
EPOCH: Final = 1580601600  # of every file inside, so that the same bytes come twice
HOME: Final = "opt/credit-monitor"
SCRIPTS: Final = ("preinst", "postinst", "prerm", "postrm")
SHELLS: Final = {
    "bash": "usr/share/bash-completion/completions/credit-monitor",
    "zsh": "usr/share/zsh/vendor-completions/_credit-monitor",
    "fish": "usr/share/fish/vendor_completions.d/credit-monitor.fish",
}


def run(*command: str | Path, **options: object) -> str:
    """Run a program; end with what it said when it fails."""
    done = subprocess.run(command, capture_output=True, text=True, check=False, **options)  # type: ignore[call-overload]
    if done.returncode:
        raise SystemExit(f"make deb: {Path(command[0]).name} failed: {done.stderr.strip()[-2000:]}")
    return str(done.stdout)


class Tree:
    """What the package will hold, in a directory."""

    def __init__(self, root: Path, architecture: str) -> None:
        self.root = root
        self.architecture = architecture

    def put(self, path: str, content: str | bytes) -> None:
        target = self.root / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content.encode() if isinstance(content, str) else content)

    def compressed(self, path: str, content: str | bytes) -> None:
        data = content.encode() if isinstance(content, str) else content
        self.put(f"{path}.gz", gzip.compress(data, mtime=0))

    def link(self, path: str, target: str) -> None:
        (self.root / path).parent.mkdir(parents=True, exist_ok=True)
        (self.root / path).symlink_to(target)

    def install(self, wheel: Path, pins: Path, python: str) -> None:
        """Install the libraries of one Python, without running it."""
        target = self.root / HOME / "lib" / f"python{python}" / "site-packages"
        platforms = [f"--platform=manylinux_{glibc}_{MACHINES[self.architecture]}" for glibc in GLIBC]
        pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check", "install", "--no-deps"]
        options = ["--only-binary=:all:", "--no-compile", f"--python-version={python}", *platforms]
        run(*pip, *options, "--target", target, "-r", pins, wheel)
        shutil.rmtree(target / "bin", ignore_errors=True)
        for path in target.rglob("*.so*"):
            run("strip", "--strip-unneeded", path)
        for record in ("direct_url.json", "RECORD", "REQUESTED", "INSTALLER"):  # pip's own, of files as they were
            for path in target.glob(f"*.dist-info/{record}"):
                path.unlink()

    def link_equals(self) -> None:
        """Keep what two Pythons share once."""
        seen: dict[bytes, Path] = {}
        for path in sorted((self.root / HOME).rglob("*")):
            if path.is_file() and not path.is_symlink() and path.stat().st_size:
                first = seen.setdefault(hashlib.sha256(path.read_bytes()).digest(), path)
                if first is not path:
                    path.unlink()
                    path.hardlink_to(first)

    def normalize(self) -> None:
        """Set modes and times, whoever builds."""
        programs = {self.root / HOME / "bin/credit-monitor", *(self.root / "DEBIAN" / name for name in SCRIPTS)}
        for path in sorted(self.root.rglob("*"), reverse=True):
            if path.name == "credentials":
                path.chmod(0o700)
            elif not path.is_symlink():
                path.chmod(0o755 if path.is_dir() or path in programs else 0o644)
            os.utime(path, (EPOCH, EPOCH), follow_symlinks=False)
        self.root.chmod(0o755)


def wheel_and_pins(folder: Path) -> tuple[Path, Path]:
    run(sys.executable, REPOSITORY / ".ci/dist.py", folder)
    (wheel,), (pins,) = folder.glob("*.whl"), folder.glob("*-constraints.txt")
    return wheel, pins


def fill(tree: Tree, pythons: list[str], version: str | None, folder: Path) -> str:
    """Put everything into the tree; return the package's version."""
    wheel, pins = wheel_and_pins(folder)
    version = version or wheel.name.split("-")[1]
    for python in pythons:
        tree.install(wheel, pins, python)
    tree.link_equals()
    tree.put(f"{HOME}/pyvenv.cfg", "home = /usr/bin\ninclude-system-site-packages = false\n")
    tree.put(f"{HOME}/bin/credit-monitor", (HERE / "credit-monitor").read_text())
    tree.link(f"{HOME}/bin/python3", "/usr/bin/python3")
    tree.link(f"{HOME}/bin/python", "python3")
    tree.link("usr/bin/credit-monitor", f"/{HOME}/bin/credit-monitor")
    unit = (REPOSITORY / "systemd/credit-monitor.service").read_text()
    tree.put("usr/lib/systemd/system/credit-monitor.service", unit)
    tree.put("etc/credit-monitor/config.toml", (HERE / "config.toml").read_text())
    (tree.root / "etc/credit-monitor/credentials").mkdir(mode=0o700)
    document(tree, version)
    return version


def document(tree: Tree, version: str) -> None:
    """Put the documents, the manual page and the completions into the tree."""
    documents = "usr/share/doc/credit-monitor"
    tree.put(f"{documents}/copyright", (HERE / "copyright").read_text() + (REPOSITORY / "LICENSE").read_text())
    tree.put(f"{documents}/config.example.toml", (REPOSITORY / "config.example.toml").read_text())
    tree.compressed(f"{documents}/NEWS", (REPOSITORY / "CHANGELOG.md").read_text())
    maintained = f"credit-monitor ({version}) unstable; urgency=medium\n\n  * See NEWS.gz.\n\n"
    maintained += " -- credit-monitor <maintainers@localhost>  Sun, 02 Feb 2020 00:00:00 +0000\n"
    tree.compressed(f"{documents}/changelog", maintained)
    tree.put("usr/share/lintian/overrides/credit-monitor", (HERE / "lintian-overrides").read_text())
    manual = run(sys.executable, REPOSITORY / "packaging/manual.py", cwd=REPOSITORY)
    tree.compressed("usr/share/man/man1/credit-monitor.1", manual)
    for shell, path in SHELLS.items():
        tree.put(path, run(sys.executable, "-m", "monitor", "completion", shell, cwd=REPOSITORY))


def control(tree: Tree, version: str, pythons: list[str]) -> None:
    """Write what dpkg is told."""
    files = sorted(path for path in tree.root.rglob("*") if path.is_file() and not path.is_symlink())
    size = sum({path.stat().st_ino: path.stat().st_size for path in files}.values())
    values = {
        "version": version,
        "architecture": tree.architecture,
        "size": size // 1024,
        "oldest": f"{pythons[0]}~",
        "below": f"3.{int(pythons[-1].split('.')[1]) + 1}~",
    }
    tree.put("DEBIAN/control", (HERE / "control").read_text().format(**values))
    tree.put("DEBIAN/conffiles", "/etc/credit-monitor/config.toml\n")
    tree.put("DEBIAN/triggers", "interest-noawait /usr/bin/python3\n")
    for name in SCRIPTS:
        tree.put(f"DEBIAN/{name}", (HERE / name).read_text().replace("@PYTHONS@", " ".join(pythons)))
    sums = ((hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest(), path) for path in files)
    tree.put("DEBIAN/md5sums", "".join(f"{digest}  {path.relative_to(tree.root)}\n" for digest, path in sums))


def build(output: Path, version: str | None = None, pythons: str = PYTHONS) -> Path:
    """Build the package; return its path."""
    if missing := [tool for tool in ("dpkg-deb", "strip", "dpkg") if shutil.which(tool) is None]:
        raise SystemExit(f"make deb cannot run on this machine: {' and '.join(missing)} missing (apt install dpkg-dev)")
    architecture = run("dpkg", "--print-architecture").strip()
    minors = sorted(pythons.split(","), key=lambda minor: int(minor.split(".")[1]))
    with tempfile.TemporaryDirectory() as folder:
        tree = Tree(Path(folder, "tree"), architecture)
        version = fill(tree, minors, version, Path(folder, "dist"))
        control(tree, version, minors)
        tree.normalize()
        output.mkdir(parents=True, exist_ok=True)
        target = output / f"credit-monitor_{version}_{architecture}.deb"
        environ = os.environ | {"SOURCE_DATE_EPOCH": str(EPOCH)}
        run("dpkg-deb", "--root-owner-group", "-Zxz", "-z1", "--build", tree.root, target, env=environ)
    return target


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--version")
    parser.add_argument("--pythons", default=PYTHONS)
    parser.add_argument("--output", type=Path, default=REPOSITORY / "dist")
    options = parser.parse_args()
    package = build(options.output, options.version, options.pythons)
    print(f"{package}: {package.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
