"""Draw ``docs/report.png``: the first screen of the report of a run, in a real browser.

fundus demo --out demo/
python docs/make_screenshot.py demo/run

It needs Chromium, such as Debian's package, and draws what it gets: photographs that may be
published, such as synthetic ones.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

PICTURE = Path(__file__).resolve().with_name("report.png")

#: Of the window, in pixels.
WIDTH, HEIGHT = 1180, 980


def main() -> None:
    run = Path(sys.argv[1])
    browser = shutil.which("chromium") or shutil.which("google-chrome")
    if browser is None:
        raise SystemExit("no Chromium here: install Debian's package 'chromium'")
    with TemporaryDirectory() as folder:
        page = Path(folder) / "report.html"
        subprocess.run(
            [sys.executable, "-m", "fundus", "report", str(run), "-o", str(page)], check=True
        )
        # root may not start the sandbox; the page is our own
        subprocess.run(
            [browser, "--headless", "--no-sandbox", "--hide-scrollbars",
             f"--window-size={WIDTH},{HEIGHT}", f"--screenshot={PICTURE}", page.as_uri()],
            check=True,
        )  # fmt: skip


if __name__ == "__main__":
    main()
