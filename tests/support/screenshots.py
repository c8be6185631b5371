"""The pictures of both pages in docs/images, of problems and of the status: `python -m tests.support.screenshots`.

They show the pages in the fonts of whoever runs this, or in Inter and JetBrains Mono where those are installed (Debian:
fonts-inter, fonts-jetbrains-mono), which look like most people's systems.
"""

from __future__ import annotations

import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from gateway.errors import GatewayError
from gateway.hostname import Target
from tests.support.devtools import DevTools
from tests.support.problem_site import ipv4_only, problem_site, refused
from tests.support.process import ROOT, poll
from tests.support.status_site import Invented, status_site

IMAGES = ROOT / "docs" / "images"
TARGET = Target(5000, "abc123", "sandbox.example.dev")

FONTS = """<?xml version="1.0"?>
<!DOCTYPE fontconfig SYSTEM "fonts.dtd">
<fontconfig>
  <include ignore_missing="yes">/etc/fonts/fonts.conf</include>
  <alias binding="strong"><family>system-ui</family><prefer><family>Inter</family></prefer></alias>
  <alias binding="strong"><family>sans-serif</family><prefer><family>Inter</family></prefer></alias>
  <alias binding="strong"><family>ui-monospace</family><prefer><family>JetBrains Mono</family></prefer></alias>
</fontconfig>
"""


@dataclass(frozen=True, slots=True)
class Picture:
    """One file and what it shows."""

    name: str
    error: GatewayError | None
    """None: the status page."""
    width: int
    height: int
    scheme: str
    scale: float = 1
    at_most: int = 2000
    """CSS pixels of its length that are shown."""


PICTURES = (
    Picture("problem-light.png", refused(), 1000, 800, "light"),
    Picture("problem-dark.png", ipv4_only(), 1000, 800, "dark"),
    Picture("problem-phone.png", refused(), 375, 812, "light", scale=1.5, at_most=968),
    Picture("status-light.png", None, 1000, 800, "light", at_most=1330),
    Picture("status-dark.png", None, 1000, 800, "dark", at_most=1330),
    Picture("status-phone.png", None, 375, 812, "light", scale=1.5, at_most=1100),
)
SECOND = 0.1
"""Seconds that one takes on the status page, whose curves show a minute."""


def take(pictures: tuple[Picture, ...], into: Path) -> None:
    """Writes `pictures`, each once its page has shown all that it has to."""
    with tempfile.TemporaryDirectory() as directory:
        home = Path(directory)
        (home / ".config" / "fontconfig").mkdir(parents=True)
        (home / ".config" / "fontconfig" / "fonts.conf").write_text(FONTS)
        with DevTools(home) as browser:
            for picture in pictures:
                browser.emulate(picture.width, picture.height, picture.scheme, scale=picture.scale)
                if picture.error is None:
                    _take_status(browser, picture, into)
                    continue
                with problem_site(picture.error, TARGET) as site:
                    browser.open(site.url())
                    site.wait_for(1, probes=True)
                    browser.picture(into / picture.name, picture.at_most)


def _take_status(browser: DevTools, picture: Picture, into: Path) -> None:
    points = "return document.querySelector('#tiles polyline')?.getAttribute('points').split(' ').length"
    with status_site(Invented(), SECOND) as url:
        browser.open(url)
        poll(lambda: browser.evaluate(points) == 60, "the curves are whole", 60)
        browser.picture(into / picture.name, picture.at_most)


if __name__ == "__main__":
    take(PICTURES, Path(sys.argv[1]) if len(sys.argv) > 1 else IMAGES)
