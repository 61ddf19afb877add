"""The one HTTP client for servers: it uses the environment's proxy, but not for this machine.

A proxy of the environment (`http_proxy` and the like) cannot reach our loopback: with it, a server
that lives would look dead.
"""

import ipaddress
import ssl
from functools import cache
from typing import Any
from urllib.parse import urlsplit

import httpx

from mm_lora.core.errors import UsageError


def client(base_url: str, timeout_s: float, key: str | None = None) -> httpx.Client:
    """A client for the paths below `base_url`, `timeout_s` seconds for each wait; to be closed.

    `key` is sent as the bearer. Its calls raise httpx.HTTPError. Raises UsageError for proxy
    variables that cannot be followed.
    """
    # vLLM closes an idle connection after 5 s: one that is used again at that very moment would
    # look like a server that died.
    headers = {"Connection": "close"}
    if key:
        headers["Authorization"] = f"Bearer {key}"
    try:
        return httpx.Client(
            base_url=base_url,
            timeout=timeout_s,
            headers=headers,
            follow_redirects=True,
            trust_env=not is_loopback(base_url),
            verify=_authorities(),
            # A batch sends all its requests at once: none may wait for another's connection.
            limits=httpx.Limits(max_connections=None),
        )
    except (ImportError, ValueError, httpx.InvalidURL) as error:
        raise UsageError(
            f"the environment's proxy cannot be used: {error}",
            "http_proxy, https_proxy, all_proxy and no_proxy",
        ) from error


def request(
    method: str,
    base_url: str,
    path: str,
    timeout_s: float,
    key: str | None = None,
    body: Any = None,
) -> httpx.Response:
    """One request with a client of its own, and its whole answer; `body` goes as JSON.

    Raises httpx.HTTPError and UsageError as `client` does.
    """
    with client(base_url, timeout_s, key) as once:
        return once.request(method, path, json=body)


def is_loopback(url: str) -> bool:
    """Whether the URL's host is this machine's loopback, by its name or number."""
    host = (urlsplit(url).hostname or "").rstrip(".")
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")


@cache
def _authorities() -> ssl.SSLContext:
    """Read once: it takes 0.1 s, and a starting server is asked several times a second."""
    return httpx.create_ssl_context()
