"""A real browser, driven over its own pipe (Chrome DevTools Protocol): no driver, no port.

Messages are JSON and end in NUL; the browser reads them from descriptor 3 and answers on 4.
"""

from __future__ import annotations

import base64
import json
import os
import select
import subprocess
import tempfile
import time
import zlib
from pathlib import Path
from typing import Any

PROGRAM = "chromium-headless-shell"
PATIENCE_S = 60.0
KEYS = {
    "Enter": 13, "Escape": 27, "Backspace": 8,
    "ArrowLeft": 37, "ArrowUp": 38, "ArrowRight": 39, "ArrowDown": 40,
}  # fmt: skip


class Browser:
    """One browser with a home of its own, ended and cleared away with the `with` block."""

    def __enter__(self) -> Browser:
        self._home = tempfile.TemporaryDirectory(ignore_cleanup_errors=True)
        theirs_in, self._to = os.pipe()
        self._from, theirs_out = os.pipe()
        command = [PROGRAM, "--no-sandbox", "--remote-debugging-pipe", "--hide-scrollbars"]
        command += [
            f"--user-data-dir={self._home.name}",
            "--disable-gpu",
            "--enable-unsafe-swiftshader",
            "about:blank",
        ]
        self._process = subprocess.Popen(
            ["bash", "-c", f'exec "$0" "$@" 3<&{theirs_in} 4>&{theirs_out}', *command],
            pass_fds=(theirs_in, theirs_out),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        os.close(theirs_in)
        os.close(theirs_out)
        self._rest = b""
        self._number = 0
        self.events: list[dict[str, Any]] = []
        return self

    def __exit__(self, *error: object) -> None:
        os.close(self._to)  # it ends when nobody speaks to it any more
        try:
            self._process.wait(20)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        os.close(self._from)
        self._home.cleanup()

    def call(self, method: str, session: str | None = None, **params: Any) -> dict[str, Any]:
        """What the browser answers; events that come before are kept in `events`."""
        self._number += 1
        message: dict[str, Any] = {"id": self._number, "method": method, "params": params}
        if session:
            message["sessionId"] = session
        self._write(json.dumps(message).encode() + b"\0")
        while True:
            answer = self._read()
            if answer.get("id") == self._number:
                assert "error" not in answer, f"{method}: {answer['error']}"
                result: dict[str, Any] = answer["result"]
                return result
            self.events.append(answer)

    def open(self, url: str, width: int = 1400, height: int = 900) -> Page:
        """The page at this address, loaded, with its requests and errors watched from the start."""
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        page = Page(self, session)
        for domain in ("Page", "Runtime", "Network", "Log"):
            page.call(f"{domain}.enable")
        page.call(
            "Emulation.setDeviceMetricsOverride",
            width=width, height=height, deviceScaleFactor=1, mobile=False,
        )  # fmt: skip
        del self.events[:]
        page.call("Page.navigate", url=url)
        page.until("document.readyState === 'complete'")
        return page

    def _write(self, data: bytes) -> None:
        while data:
            data = data[os.write(self._to, data) :]

    def _read(self) -> dict[str, Any]:
        deadline = time.monotonic() + PATIENCE_S
        while b"\0" not in self._rest:
            ready = select.select([self._from], [], [], max(0.0, deadline - time.monotonic()))[0]
            assert ready, "the browser does not answer"
            data = os.read(self._from, 1 << 20)
            assert data, f"the browser ended (is {PROGRAM} installed? make setup-web)"
            self._rest += data
        line, _, self._rest = self._rest.partition(b"\0")
        message: dict[str, Any] = json.loads(line)
        return message


class Page:
    """One tab of the browser."""

    def __init__(self, browser: Browser, session: str) -> None:
        self._browser = browser
        self._session = session

    def call(self, method: str, **params: Any) -> dict[str, Any]:
        return self._browser.call(method, self._session, **params)

    def run(self, script: str) -> Any:
        """Value of an expression; a promise is waited for."""
        answer = self.call(
            "Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True
        )
        assert "exceptionDetails" not in answer, answer["exceptionDetails"]
        return answer["result"].get("value")

    def until(self, condition: str) -> None:
        """Returns once a script's expression is true."""
        deadline = time.monotonic() + PATIENCE_S
        while not self.run(f"Boolean({condition})"):
            assert time.monotonic() < deadline, f"never true: {condition}"
            time.sleep(0.02)

    def settle(self) -> None:
        """Returns after two frames were drawn."""
        self.run("new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")

    def text(self, selector: str) -> str:
        return str(self.run(f"document.querySelector({json.dumps(selector)}).innerText"))

    def texts(self, selector: str) -> list[str]:
        every = f"[...document.querySelectorAll({json.dumps(selector)})]"
        return list(self.run(f"{every}.filter(e => e.checkVisibility()).map(e => e.innerText)"))

    def box(self, selector: str) -> dict[str, float]:
        found: dict[str, float] = self.run(
            f"(() => {{ const b = document.querySelector({json.dumps(selector)})"
            ".getBoundingClientRect(); return {x: b.x, y: b.y, w: b.width, h: b.height} })()"
        )
        return found

    def move(self, x: float, y: float) -> None:
        self.call("Input.dispatchMouseEvent", type="mouseMoved", x=x, y=y)
        self.settle()

    def click(self, x: float, y: float) -> None:
        self.move(x, y)
        for kind in ("mousePressed", "mouseReleased"):
            self.call("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1)
        self.settle()

    def click_on(self, selector: str) -> None:
        box = self.box(selector)
        self.click(box["x"] + box["w"] / 2, box["y"] + box["h"] / 2)

    def press(self, key: str) -> None:
        code = KEYS.get(key)
        text = {} if code and key != "Enter" else {"text": "\r" if key == "Enter" else key}
        params: dict[str, Any] = {"key": key, "windowsVirtualKeyCode": code or ord(key.upper())}
        self.call("Input.dispatchKeyEvent", type="keyDown", **params, **text)
        self.call("Input.dispatchKeyEvent", type="keyUp", **params)
        self.settle()

    def write(self, text: str) -> None:
        """Types a text where the focus is."""
        self.call("Input.insertText", text=text)
        self.settle()

    def dark(self, on: bool) -> None:
        scheme = {"name": "prefers-color-scheme", "value": "dark" if on else "light"}
        self.call("Emulation.setEmulatedMedia", features=[scheme])
        self.settle()

    def picture(self, path: Path) -> None:
        data = self.call("Page.captureScreenshot", format="png")["data"]
        path.write_bytes(base64.b64decode(data))

    def pixel(self, x: float, y: float) -> tuple[int, int, int]:
        """Colour of one point of the screen."""
        clip = {"x": x, "y": y, "width": 1, "height": 1, "scale": 1}
        png = base64.b64decode(self.call("Page.captureScreenshot", format="png", clip=clip)["data"])
        assert png[16:24] == b"\0\0\0\1\0\0\0\1", "one point was asked for"
        at, packed = 8, b""
        while at < len(png):
            length = int.from_bytes(png[at : at + 4])
            if png[at + 4 : at + 8] == b"IDAT":
                packed += png[at + 8 : at + 8 + length]
            at += 12 + length
        row = zlib.decompress(packed)  # how it is filtered, then red, green, blue as they are
        return row[1], row[2], row[3]

    def requests(self) -> list[str]:
        """Addresses of all that was asked for since the page was opened, and not refused by it."""
        self.settle()
        asked: dict[str, str] = {}
        for event in self._browser.events:
            params = event["params"]
            if event["method"] == "Network.requestWillBeSent":
                asked[params["requestId"]] = params["request"]["url"]
            if event["method"] == "Network.loadingFailed" and params.get("blockedReason") == "csp":
                asked.pop(params["requestId"])
        return list(asked.values())

    def complaints(self) -> list[str]:
        """What went wrong in the page: exceptions, and what its policy refused."""
        self.settle()
        out = []
        for event in self._browser.events:
            if event["method"] == "Runtime.exceptionThrown":
                out.append(str(event["params"]["exceptionDetails"]))
            if event["method"] == "Log.entryAdded":
                out.append(event["params"]["entry"]["text"])
        return out

    def forget(self) -> None:
        """Takes the complaints so far as seen."""
        told = ("Runtime.exceptionThrown", "Log.entryAdded")
        events = self._browser.events
        events[:] = [event for event in events if event["method"] not in told]
