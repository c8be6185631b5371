"""The pictures of our pages in docs/images: `python -m tests.support.screenshots` writes them.

They show them in the fonts of whoever runs this, or in Inter and JetBrains Mono where those are installed (Debian:
fonts-inter, fonts-jetbrains-mono), which look like most people's systems.
"""

from __future__ import annotations

import math
import random
import sys
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from gateway.errors import GatewayError
from gateway.hostname import Target
from tests.support.devtools import DevTools
from tests.support.problem_site import ipv4_only, problem_site, refused
from tests.support.process import ROOT, free_port
from tests.support.serving import DOMAIN, App, Serving

IMAGES = ROOT / "docs" / "images"
TARGET = Target(5000, "abc123", "sandbox.example.dev")
BOXES = ("shop-7f3a", "agent-12", "notebook", "blog")

_FONTS = """<?xml version="1.0"?>
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
    error: GatewayError
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
)


STATUS = (
    ("status-light.png", 1100, 900, "light", 1.0),
    ("status-dark.png", 1100, 900, "dark", 1.0),
    ("status-phone.png", 375, 812, "dark", 1.5),
)
"""Name, width, height, colours, scale."""
WATCHED = 25.0
"""Seconds, so that the curves have something to draw."""


def take_status(into: Path) -> None:
    """Writes the pictures of a status page: of a gateway that serves four sandboxes, one of which is not well."""
    with tempfile.TemporaryDirectory() as directory, App() as app:
        home = _home(Path(directory))
        gateway = Serving(home, app)
        (home / "sandboxes.toml").write_text("".join(f'[sandboxes.{name}]\naddress = "::1"\n' for name in BOXES))
        with gateway, ThreadPoolExecutor(1) as pool, DevTools(home) as browser:
            done = threading.Event()
            load = pool.submit(_load, gateway, app, done)
            try:
                for name, width, height, scheme, scale in STATUS:
                    browser.emulate(width, height, scheme, scale=scale)
                    browser.open(f"http://127.0.0.1:{gateway.admin_port}/")
                    time.sleep(WATCHED)
                    browser.picture(into / name, 1270 if width > 500 else 850)
            finally:
                done.set()
                load.result()


def _load(gateway: Serving, app: App, done: threading.Event) -> None:
    """Requests that differ in whom they are for, and in what becomes of them."""
    source, closed = random.Random(1), free_port()
    while not done.is_set():
        box = source.choices(BOXES, (8, 4, 2, 1))[0]
        port, path = (closed, "/") if box == BOXES[-1] else (app.port, f"/items/{source.randrange(100)}")
        if source.random() < 0.02:
            box, port = "gone", app.port
        connection = gateway.connect()
        host = f"{port}-{box}.{DOMAIN}"
        connection.sendall(f"GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode())
        gateway.answer(connection)
        done.wait(source.expovariate(60 + 40 * math.sin(time.monotonic() / 4)))


def _home(home: Path) -> Path:
    """With the fonts."""
    (home / ".config" / "fontconfig").mkdir(parents=True)
    (home / ".config" / "fontconfig" / "fonts.conf").write_text(_FONTS)
    return home


def take(pictures: tuple[Picture, ...], into: Path) -> None:
    """Writes `pictures`, each once its page has asked and been answered."""
    with tempfile.TemporaryDirectory() as directory:
        home = _home(Path(directory))
        with DevTools(home) as browser:
            for picture in pictures:
                with problem_site(picture.error, TARGET) as site:
                    browser.emulate(picture.width, picture.height, picture.scheme, scale=picture.scale)
                    browser.open(site.url())
                    site.wait_for(1, probes=True)
                    browser.picture(into / picture.name, picture.at_most)


if __name__ == "__main__":
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else IMAGES
    take(PICTURES, folder)
    take_status(folder)
