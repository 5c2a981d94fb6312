"""Take the pictures of `docs/pictures/mail.html` anew, with Chromium; look at them before they are committed."""

import shutil
import subprocess
import tempfile
from pathlib import Path

PICTURES = Path(__file__).parents[2] / "docs" / "pictures"
SIZES = {320: 980, 800: 640}  # heights by widths
SCHEMES = {"dark": 0, "light": 1}
FLAGS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--hide-scrollbars"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
    "--allow-file-access-from-files",
)


def take(width: int, scheme: str) -> None:
    """Take one picture; a frame, because a window cannot be as narrow as a telephone."""
    chromium = shutil.which("chromium") or "chromium"
    with tempfile.TemporaryDirectory() as folder:
        page = Path(folder, "frame.html")
        frame = f'<iframe src="{(PICTURES / "mail.html").as_uri()}" style="border:0;width:{width}px;height:100vh">'
        page.write_text(f'<body style="margin:0">{frame}</iframe>')
        subprocess.run(
            [
                *(chromium, *FLAGS, f"--user-data-dir={folder}/profile"),
                *(f"--blink-settings=preferredColorScheme={SCHEMES[scheme]}", f"--window-size={width},{SIZES[width]}"),
                *(f"--screenshot={PICTURES / f'mail-{width}-{scheme}.png'}", page.as_uri()),
            ],
            check=True,
            capture_output=True,
            timeout=120,
        )


if __name__ == "__main__":
    for width, scheme in ((800, "light"), (320, "light"), (320, "dark")):
        take(width, scheme)
