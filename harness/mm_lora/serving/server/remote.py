"""A server that somebody else started: what it serves, asked over HTTP, and never stopped by us."""

import json
import os
from collections.abc import Mapping
from urllib.parse import urlsplit

import httpx

from mm_lora.core.errors import TroubleError, UsageError
from mm_lora.serving import http

KEYS = ("MM_LORA_API_KEY", "OPENAI_API_KEY")
_ANSWER_S = 30.0


def api_key(environment: Mapping[str, str] = os.environ) -> str | None:
    """The key for a remote server, from the environment alone; the first of KEYS that is set."""
    return next((environment[name] for name in KEYS if environment.get(name)), None)


def root_of(url: str) -> str:
    """The URL without a closing `/v1` or slash, a path prefix kept. Raises UsageError."""
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise UsageError(
            f"--base-url '{url}' is not a URL", "http://HOST:PORT or https://HOST/PREFIX"
        )
    if "@" in parts.netloc:
        raise UsageError(
            "--base-url must not hold a user or password: it is printed and stored",
            f"an API key in {KEYS[0]}",
        )
    return url.rstrip("/").removesuffix("/v1").rstrip("/")


class RemoteServer:
    """One running server. `adapters` are the names that it lists as LoRA adapters.

    `base` is the name under which it serves the base model, `version` its vLLM's if it tells.
    """

    def __init__(self, base_url: str, key: str | None) -> None:
        self.base_url = base_url
        self._key = key
        self.base = ""
        self.adapters: tuple[str, ...] = ()
        self.version: str | None = None

    def connect(self) -> None:
        """Ask what it serves. Raises TroubleError that says why it cannot be asked."""
        status, body = self._get("/v1/models")
        if status in (401, 403):
            given = "does not accept the API key" if self._key else "wants an API key"
            raise TroubleError(f"{self.base_url} {given} (HTTP {status})", f"set {KEYS[0]}")
        try:
            listed = json.loads(body)["data"]
            names = {str(one["id"]): one.get("parent") for one in listed}
            self.base = next(name for name, parent in names.items() if not parent)
        except (ValueError, KeyError, TypeError, StopIteration):
            raise TroubleError(
                f"{self.base_url}/v1/models answers HTTP {status}, and lists no base model",
                "--base-url: the address before /v1, with its path prefix if it has one",
            ) from None
        self.adapters = tuple(name for name, parent in names.items() if parent)
        status, body = self._get("/version")
        try:
            self.version = str(json.loads(body)["version"]) if status == 200 else None
        except (ValueError, KeyError, TypeError):
            self.version = None

    def poll(self) -> None:
        """Its process is not ours: how it ends is not known."""

    def stop(self) -> None:
        """Somebody else's: it goes on."""

    def _get(self, path: str) -> tuple[int, bytes]:
        try:
            response = http.request("GET", self.base_url, path, _ANSWER_S, self._key)
        except httpx.HTTPError as error:
            raise TroubleError(
                f"no server answers at {self.base_url}: {str(error) or type(error).__name__}",
                "--base-url, that the server is up, and the proxy variables of the environment",
            ) from error
        return response.status_code, response.content
