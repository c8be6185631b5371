"""The pictures of `gateway dev` in docs/images, terminal and index: `python -m tests.support.dev_screenshots`.

A gateway with `--lan` and two apps, on a machine that is called anna and has a network of its own; needs root. What is
typed and printed is real, but for the home folder.
"""

from __future__ import annotations

import contextlib
import html
import os
import pty
import re
import shutil
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

from tests.interop.harness import curl, flask_app
from tests.support.browser import trust
from tests.support.devtools import DevTools
from tests.support.namespaces import Namespace
from tests.support.process import clean_environment, poll
from tests.support.screenshots import FONTS, IMAGES

COLUMNS = 132
_STYLES = {"1": "b", "31": "bad", "32": "good", "33": "wait", "2": "soft", "36": "link"}
_PAGE = """<!DOCTYPE html><meta charset="utf-8"><style>
html {{ background: #14171a; }}
pre {{ margin: 0; padding: 18px 22px; color: #d9d7d2; font: 13px/1.45 ui-monospace, monospace; white-space: pre-wrap;
  width: calc({columns}ch + 44px); font-variant-ligatures: none; }}
.b {{ color: #fff; font-weight: 700; }} .good {{ color: #6dcb95; }} .wait {{ color: #eeb657; }}
.bad {{ color: #ff8d7e; }} .soft {{ color: #a2a9b0; }} .link {{ color: #8fb8ff; }}
.code {{ display: block; line-height: 1; letter-spacing: 0; }}
</style><pre>{text}</pre>"""


class Terminal:
    """`gateway` with arguments, in a pseudo-terminal, on a machine called anna that finds its own names."""

    def __init__(self, home: Path, *arguments: str) -> None:
        hosts = home / "hosts"
        hosts.write_text("127.0.0.1 localhost 5000-local.sandbox.localhost 3000-shop.sandbox.localhost\n")
        script = f"mount --bind {hosts} /etc/hosts && hostname anna && exec gateway {' '.join(arguments)}"
        self._master, slave = pty.openpty()
        environment = {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", "HOME": str(home)}
        self.process = subprocess.Popen(
            ["unshare", "--uts", "--mount", "sh", "-c", script],
            stdin=slave,
            stdout=slave,
            stderr=slave,
            cwd=home,
            env=clean_environment(environment | {"XDG_DATA_HOME": "", "TERM": "xterm-256color"}),
            start_new_session=True,
        )
        os.close(slave)
        self.shown = ""
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        with contextlib.suppress(OSError):
            while octets := os.read(self._master, 65536):
                self.shown += octets.decode(errors="replace")

    def wait_for(self, text: str) -> None:
        poll(lambda: text in re.sub(r"\x1b\[[0-9;]*m", "", self.shown), f"it says {text}", 30)

    def close(self) -> None:
        self.process.terminate()
        self.process.wait(20)
        os.close(self._master)


def page_of(shown: str, command: str) -> str:
    """What a terminal has shown, as HTML."""
    text, style = f'<span class="soft">$</span> {html.escape(command)}\n', ""
    for piece in re.split(r"\x1b\[([0-9;]*m)", shown.replace("\r", "")):
        if re.fullmatch(r"[0-9;]*m", piece):
            style = _STYLES.get(piece[:-1], "")
        else:
            text += f'<span class="{style}">{html.escape(piece)}</span>'
    text = re.sub(r"((?:^ +[█▀▄ ]+\n)+)", r'<span class="code">\1</span>', text, flags=re.MULTILINE)
    return _PAGE.format(columns=COLUMNS, text=text)


@contextlib.contextmanager
def _machine(home: Path) -> Iterator[Terminal]:
    (home / ".config" / "fontconfig").mkdir(parents=True)
    (home / ".config" / "fontconfig" / "fonts.conf").write_text(FONTS)
    with Namespace() as laptop, Namespace() as phone:
        laptop.connect("wlan0", phone, "wlan0")
        laptop.ip("addr add 192.168.1.5/24 dev wlan0")
        with laptop.inside(), flask_app(port=5000), flask_app(host="127.0.0.1", port=3000):
            terminal = Terminal(home, "dev", "5000", "shop=3000", "--lan")
            try:
                terminal.wait_for("firewall")
                yield terminal
            finally:
                terminal.close()


def take(into: Path) -> None:
    with tempfile.TemporaryDirectory() as folder, _machine(Path(folder)) as terminal:
        ca = Path(folder, ".local/share/gateway/certs/sandbox.localhost/ca.pem")
        for url in "5000-local", "5000-local", "3000-shop":
            curl(f"https://{url}.sandbox.localhost:8443/", ca)
        terminal.wait_for(" 502")
        trust(Path(folder), ca)
        with DevTools(Path(folder)) as browser:
            browser.send("Emulation.setScrollbarsHidden", hidden=True)
            for name, width, scheme, scale in (
                ("light", 1000, "light", 1.0),
                ("dark", 1000, "dark", 1.0),
                ("phone", 375, "light", 1.5),
            ):
                browser.emulate(width, 700, scheme, scale=scale)
                browser.open("https://sandbox.localhost:8443/")
                poll(
                    lambda: browser.evaluate("return document.querySelectorAll('section').length") == 2, "it shows", 20
                )
                if name != "phone":
                    browser.evaluate("document.querySelector('button').click()")
                    poll(lambda: browser.evaluate("return document.querySelector('.qr')?.complete"), "a code", 20)
                browser.picture(into / f"index-{name}.png", 1200)
            browser.emulate(375, 700, "light", scale=1.5)
            browser.open("http://192.168.1.5:8444/")
            browser.picture(into / "lan-phone.png", 900)
            shown = terminal.shown.replace(folder, "/home/anna")
            page = Path(folder, "terminal.html")
            page.write_text(page_of(shown, "gateway dev 5000 shop=3000 --lan"))
            browser.emulate(1110, 700, "dark")
            browser.open(page.as_uri())
            browser.picture(into / "terminal.png", 1500)


if __name__ == "__main__":
    shutil.which("unshare") or sys.exit("unshare is missing (util-linux)")
    take(Path(sys.argv[1]) if len(sys.argv) > 1 else IMAGES)
