"""A real browser over Chrome's debugging protocol: one page, what it logs and what it asks for.

Chromium is driven by its own driver over WebDriver's HTTP, so that nothing more is to be installed
than Debian's `chromium` and `chromium-driver`.
"""

import json
import shutil
import socket
import subprocess
import time
from pathlib import Path
from typing import Any, Self

import httpx

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
DRIVER = "chromedriver"
_PATIENCE_S = 120.0
_FLAGS = (
    "--headless=new --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-sync "
    "--disable-background-networking --disable-component-update"
)


def missing() -> str:
    """Which program is not on this machine; "" if a browser can be driven."""
    if not any(map(shutil.which, BROWSERS)):
        return "no browser on this machine"
    return "" if shutil.which(DRIVER) else f"no {DRIVER} on this machine"


class Browser:
    """One browser with an empty profile in `folder`; ends with the `with`."""

    def __init__(self, folder: Path, *, width: int = 1280, dark: bool = False) -> None:
        with socket.socket() as one:
            one.bind(("127.0.0.1", 0))
            port = one.getsockname()[1]
        self._driver = subprocess.Popen(
            [str(shutil.which(DRIVER)), f"--port={port}", f"--log-path={folder / 'driver.log'}"],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        self._http = httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=_PATIENCE_S)
        self._folder, self._width, self._dark = folder, width, dark
        self._session = ""

    def __enter__(self) -> Self:
        try:
            self._wait()
            program = next(found for found in map(shutil.which, BROWSERS) if found)
            args = [*_FLAGS.split(), f"--user-data-dir={self._folder / 'profile'}"]
            args += [f"--window-size={self._width},900"]
            options = {
                "goog:chromeOptions": {"binary": program, "args": args},
                "goog:loggingPrefs": {"browser": "ALL", "performance": "ALL"},
            }
            made = self._ask("POST", "/session", {"capabilities": {"alwaysMatch": options}})
            self._session = f"/session/{made['sessionId']}"
            scheme = {"name": "prefers-color-scheme", "value": "dark" if self._dark else "light"}
            self.command("Emulation.setEmulatedMedia", features=[scheme])
            size = {"width": self._width, "height": 900, "deviceScaleFactor": 1, "mobile": False}
            self.command("Emulation.setDeviceMetricsOverride", **size)
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        try:
            if self._session:
                self._ask("DELETE", self._session)
        finally:
            self._http.close()
            self._driver.terminate()
            self._driver.wait(timeout=60)

    def open(self, address: str) -> None:
        """Load a page; returns when it is loaded."""
        self._ask("POST", f"{self._session}/url", {"url": address})

    def run(self, script: str, *arguments: Any) -> Any:
        """Run JavaScript with `arguments`; what it returns, or what its promise comes to."""
        body = {"script": script, "args": list(arguments)}
        return self._ask("POST", f"{self._session}/execute/sync", body)

    def command(self, name: str, **parameters: Any) -> Any:
        """One command of Chrome's debugging protocol."""
        body = {"cmd": name, "params": parameters}
        return self._ask("POST", f"{self._session}/goog/cdp/execute", body)

    def logged(self) -> list[str]:
        """What the console was told since the last call."""
        return [one["message"] for one in self._log("browser")]

    def asked(self) -> list[str]:
        """The addresses of all requests since the last call."""
        events = [json.loads(one["message"])["message"] for one in self._log("performance")]
        sent = [one for one in events if one["method"] == "Network.requestWillBeSent"]
        return [one["params"]["request"]["url"] for one in sent]

    def _log(self, kind: str) -> Any:
        return self._ask("POST", f"{self._session}/se/log", {"type": kind})

    def _wait(self) -> None:
        deadline = time.monotonic() + _PATIENCE_S
        while True:
            try:
                if self._ask("GET", "/status")["ready"]:
                    return
            except httpx.TransportError:
                assert self._driver.poll() is None, "the driver ended"
                assert time.monotonic() < deadline, "the driver does not answer"
            time.sleep(0.1)

    def _ask(self, method: str, path: str, body: Any = None) -> Any:
        answer = self._http.request(method, path, json=body if method == "POST" else None)
        value = answer.json()["value"]
        assert answer.status_code == 200, f"{path}: {value}"
        return value
