"""Headless Chromium, spoken to in its DevTools protocol over two pipes: no driver, no network."""

import base64
import fcntl
import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome") or shutil.which("chrome")
_FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--no-first-run",
    "--disable-background-networking", "--disable-dev-shm-usage", "--remote-debugging-pipe",
)  # fmt: skip


@dataclass
class Page:
    """One tab: what it asked the network for, and what stood in its console."""

    browser: "Browser"
    session: str
    requests: list[str] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)

    def do(self, method: str, **values: Any) -> dict[str, Any]:
        """One command of the protocol; its result."""
        return self.browser.do(method, self.session, **values)

    def open(self, path: Path) -> "Page":
        """Load the file at ``path`` to its end."""
        self.do("Page.navigate", url=path.resolve().as_uri())
        self.browser.wait_for("Page.loadEventFired", self.session)
        return self

    def look(self, width: int, scheme: str = "light", height: int = 900) -> "Page":
        """Change the width in CSS pixels, and what the reader prefers: light or dark."""
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 500}
        self.do("Emulation.setDeviceMetricsOverride", **size)
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        self.do("Emulation.setEmulatedMedia", features=features)
        return self

    def value(self, script: str) -> Any:
        """What ``script`` is in the page."""
        told = self.do("Runtime.evaluate", expression=script, returnByValue=True)
        assert "exceptionDetails" not in told, told["exceptionDetails"]
        return told["result"].get("value")

    def press(self, key: str) -> None:
        """Press one key, such as Tab."""
        code = {"Tab": 9}[key]
        for kind in ("keyDown", "keyUp"):
            self.do("Input.dispatchKeyEvent", type=kind, key=key, windowsVirtualKeyCode=code)

    def picture(self) -> bytes:
        """The whole page as PNG."""
        told = self.do("Page.captureScreenshot", captureBeyondViewport=True)
        return base64.b64decode(told["data"])

    def printed(self) -> bytes:
        """The page as PDF."""
        return base64.b64decode(self.do("Page.printToPDF", preferCSSPageSize=True)["data"])


class Browser:
    """A running Chromium."""

    def __init__(self, to: int, back: int) -> None:
        self._to, self._back, self._count, self._heard = to, back, 0, b""
        self._pages: dict[str, Page] = {}
        self._seen: list[dict[str, Any]] = []

    def page(self) -> Page:
        """An empty tab."""
        target = self.do("Target.createTarget", url="about:blank")["targetId"]
        told = self.do("Target.attachToTarget", targetId=target, flatten=True)
        page = self._pages[told["sessionId"]] = Page(self, told["sessionId"])
        for domain in ("Page", "Runtime", "Log", "Network"):
            page.do(f"{domain}.enable")
        return page

    def do(self, method: str, session: str = "", **values: Any) -> dict[str, Any]:
        """One command of the protocol; its result."""
        self._count += 1
        said = {"id": self._count, "method": method, "params": values}
        text = json.dumps(said | ({"sessionId": session} if session else {}))
        os.write(self._to, text.encode() + b"\0")
        while (heard := self._hear()).get("id") != self._count:
            pass
        assert "error" not in heard, f"{method}: {heard['error']}"
        result: dict[str, Any] = heard["result"]
        return result

    def wait_for(self, method: str, session: str) -> None:
        """Until this event was heard once."""
        seen = iter(list(self._seen))
        event = next(seen, None)
        while event is None or (event.get("method"), event.get("sessionId")) != (method, session):
            event = next(seen, None) or self._hear()
        self._seen.clear()

    def _hear(self) -> dict[str, Any]:
        while b"\0" not in self._heard:
            more = os.read(self._back, 1 << 16)
            assert more, "Chromium has ended"
            self._heard += more
        text, _, self._heard = self._heard.partition(b"\0")
        heard: dict[str, Any] = json.loads(text)
        self._seen.append({key: heard.get(key) for key in ("method", "sessionId")})
        if page := self._pages.get(heard.get("sessionId", "")):
            _note(page, heard.get("method", ""), heard.get("params", {}))
        return heard


def _note(page: Page, method: str, told: dict[str, Any]) -> None:
    if method == "Network.requestWillBeSent":
        page.requests.append(told["request"]["url"])
    elif method == "Runtime.exceptionThrown":
        page.complaints.append(told["exceptionDetails"]["text"])
    elif method == "Runtime.consoleAPICalled":
        page.complaints.append(f"{told['type']}: {told['args']}")
    elif method == "Log.entryAdded":
        page.complaints.append(told["entry"]["text"])


@contextmanager
def chromium(profile: Path) -> Iterator[Browser]:
    """A browser that keeps what it must in ``profile``, and ends with the block."""
    (theirs_in, to), (back, theirs_out) = os.pipe(), os.pipe()
    ends = [fcntl.fcntl(end, fcntl.F_DUPFD, 20) for end in (theirs_in, theirs_out)]
    flags = [*_FLAGS, f"--user-data-dir={profile}", "about:blank"]
    swap = f'exec "$0" "$@" 3<&{ends[0]} 4>&{ends[1]}'  # it reads from 3 and writes to 4
    process = subprocess.Popen(
        ["bash", "-c", swap, str(CHROMIUM), *flags],
        pass_fds=ends,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    for end in (theirs_in, theirs_out, *ends):
        os.close(end)
    browser = Browser(to, back)
    try:
        yield browser
        browser.do("Browser.close")
        process.wait(timeout=20)
    finally:
        process.kill()
        process.wait()
        os.close(to)
        os.close(back)
