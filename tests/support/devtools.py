"""What a WebDriver cannot do and Chromium's DevTools protocol can: other screens, other tastes, keys, another clock."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.support.browser import Browser
from tests.support.process import ROOT

AXE = ROOT / "tests" / ".build" / "node_modules" / "axe-core" / "axe.min.js"
KEYS = {"Tab": 9, "Enter": 13, "Space": 32}


class DevTools(Browser):
    """A browser whose one window can pretend."""

    def send(self, command: str, **parameters: object) -> Any:
        """The value of a DevTools command. Raises BrowserError."""
        return self._call("POST", "/goog/cdp/execute", {"cmd": command, "params": parameters})

    def emulate(
        self,
        width: int,
        height: int,
        scheme: str,
        *,
        scale: float = 1,
        media: str = "screen",
        **more: str,
    ) -> None:
        """A screen (or paper, "print") of so many CSS pixels, in a "light" or "dark" scheme; `more` are further media
        features, such as `prefers_reduced_motion="reduce"`.
        """
        size = {"width": width, "height": height, "deviceScaleFactor": scale, "mobile": width < 600}
        self.send("Emulation.setDeviceMetricsOverride", **size)
        wishes = {"prefers-color-scheme": scheme, **{name.replace("_", "-"): value for name, value in more.items()}}
        features = [{"name": name, "value": value} for name, value in wishes.items()]
        self.send("Emulation.setEmulatedMedia", media=media, features=features)

    @contextmanager
    def before_every_page(self, script: str) -> Iterator[None]:
        """Inside, `script` runs in every new page before the page's own."""
        added = self.send("Page.addScriptToEvaluateOnNewDocument", source=script)
        try:
            yield
        finally:
            self.send("Page.removeScriptToEvaluateOnNewDocument", identifier=added["identifier"])

    @contextmanager
    def another_tab(self) -> Iterator[None]:
        """Inside, another tab is in front and meant; the one before is hidden, as the browser itself says."""
        before = self._call("GET", "/window")
        opened = self._call("POST", "/window/new", {"type": "tab"})["handle"]
        self._call("POST", "/window", {"handle": opened})
        try:
            yield
        finally:
            self._call("DELETE", "/window")
            self._call("POST", "/window", {"handle": before})
            self.send("Page.bringToFront")

    @contextmanager
    def inside(self, frame: str) -> Iterator[None]:
        """Inside, what is evaluated runs in the frame that the script expression `frame` is, of whatever site."""
        self._call("POST", "/frame", {"id": self.evaluate(f"return {frame}")})
        try:
            yield
        finally:
            self._call("POST", "/frame", {"id": None})

    def back(self) -> None:
        self._call("POST", "/back", {})

    def press(self, key: str) -> None:
        """A key of KEYS, down and up, for what has the focus."""
        code = {"key": " " if key == "Space" else key, "code": key, "windowsVirtualKeyCode": KEYS[key]}
        text = {"Enter": "\r", "Space": " "}.get(key)
        down = {"type": "keyDown", "text": text} if text else {"type": "rawKeyDown"}
        self.send("Input.dispatchKeyEvent", **down, **code)
        self.send("Input.dispatchKeyEvent", type="keyUp", **code)

    def click(self, element: str) -> None:
        """A click in the middle of what the script expression `element` is, for what listens to the mouse itself."""
        place = "const {x, y, width, height} = (%s).getBoundingClientRect(); return [x + width / 2, y + height / 2]"
        x, y = self.evaluate(place % element)
        for what in ("mousePressed", "mouseReleased"):
            self.send("Input.dispatchMouseEvent", type=what, x=x, y=y, button="left", clickCount=1)

    def violations(self) -> list[str]:
        """What axe-core finds wrong with the page, a line for each rule and element."""
        found = self.evaluate(
            AXE.read_text(encoding="utf-8") + "\nreturn axe.run().then((result) => result.violations)"
        )
        return [f"{rule['id']}: {node['html']} {node['failureSummary']}" for rule in found for node in rule["nodes"]]

    def picture(self, path: Path, at_most: int) -> None:
        """The page as a PNG, as long as it is but `at_most` so many CSS pixels."""
        self.send("Emulation.setScrollbarsHidden", hidden=True)
        size = self.send("Page.getLayoutMetrics")["cssContentSize"]
        clip = {"x": 0, "y": 0, "width": size["width"], "height": min(size["height"], at_most), "scale": 1}
        taken = self.send("Page.captureScreenshot", format="png", clip=clip, captureBeyondViewport=True)
        path.write_bytes(base64.b64decode(taken["data"]))
