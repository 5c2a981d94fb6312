"""Pictures of every page, wide and narrow, light and dark, and (where npm is) what axe-core finds in each.

    python -m tests.proofs.page FOLDER [ORGANIZATIONS]

It also measures: the time and size of pages and of the JSON, first and again.
"""

import asyncio
import http.client
import shutil
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

HERE = Path(__file__).parents[2]
sys.path[:0] = [str(HERE / "tests/support"), str(HERE / "tests/integration/web")]

import browser  # noqa: E402 -- they stand beside the tests
from seen import TOML, live  # noqa: E402
from visitor import Site, settings_of  # noqa: E402

AXE = "axe-core@4.14.1"
PAGES = {
    "overview": "/",
    "wall": "/?wall",
    "incidents": "/incidents",
    "deliveries": "/deliveries",
    "channels": "/channels",
    "organization-week": "/organizations/render-farm",
    "organization-month": "/organizations/render-farm?range=30d",
    "organization-year": "/organizations/lab?range=1y&by=week",
    "organization-one-point": "/organizations/web",
    "organization-no-data": "/organizations/research",
    "organization-hostile": "/organizations/archive",
}
LOOKS = ((1280, False), (1280, True), (390, False), (390, True))


async def main(folder: Path, count: int) -> int:
    """Fill, serve, look, measure; 1 when anything was found."""
    with tempfile.TemporaryDirectory() as place:
        settings = settings_of(Path(place), f"sqlite:///{place}/seen.db", base=TOML)
        now = datetime.now(UTC)
        live(settings, now, count=count, days=30)
        async with Site(settings, now=now).serve() as site:
            for path in ("/", "/api/v1/status", "/organizations/lab?range=30d"):
                await asyncio.to_thread(_measure, site.port, path)
            return await asyncio.to_thread(_look, site.port, folder)


def _measure(port: int, path: str) -> None:
    for which in ("first", "again"):
        began = time.perf_counter()
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        connection.request("GET", path)
        body = connection.getresponse().read()
        print(f"{path}: {which} {1000 * (time.perf_counter() - began):.0f} ms, {len(body) / 1024:.0f} KiB")


def _look(port: int, folder: Path) -> int:
    if not browser.is_there():
        print(browser.ABSENT)
        return 0
    folder.mkdir(parents=True, exist_ok=True)
    axe, found = _axe(), 0
    with browser.browser() as driver:
        for width, dark in LOOKS:
            browser.look(driver, width=width, dark=dark)
            for name, path in PAGES.items():
                driver.get(f"http://127.0.0.1:{port}{path}")
                time.sleep(0.5)  # the chart's animation frame
                browser.picture(driver, str(folder / f"{name}-{width}{'-dark' if dark else ''}.png"))
                said = [*browser.complaints(driver), *_violations(driver, axe)]
                found += len(said)
                print(f"{name} {width} {'dark' if dark else 'light'}: {said or 'nothing to say'}")
    return 1 if found else 0


def _axe() -> str:
    """Return axe-core's script from npm; "" where npm is not."""
    if not shutil.which("npm"):
        print("axe-core is not asked: there is no npm here")
        return ""
    with tempfile.TemporaryDirectory() as place:
        subprocess.run(["npm", "pack", "--silent", AXE], cwd=place, check=True, stdout=subprocess.DEVNULL)
        (packed,) = Path(place).glob("*.tgz")
        shutil.unpack_archive(packed, place)
        return (Path(place) / "package/axe.min.js").read_text()


def _violations(driver: Any, axe: str) -> list[str]:
    if not axe:
        return []
    driver.execute_cdp_cmd("Runtime.evaluate", {"expression": axe})  # beside the page's policy
    script = "const done = arguments[0]; axe.run().then((found) => done(found.violations.map((each) => each.id)))"
    return [f"axe: {name}" for name in driver.execute_async_script(script)]


if __name__ == "__main__":
    to = Path(sys.argv[1] if len(sys.argv) > 1 else "dist/page")
    sys.exit(asyncio.run(main(to, int(sys.argv[2]) if len(sys.argv) > 2 else 10)))
