"""A proxy of the environment is for servers elsewhere: one on this machine is asked directly."""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from mm_lora.core.asking import Request
from mm_lora.core.errors import ServerDied, TroubleError, UsageError
from mm_lora.serving import http
from mm_lora.serving.client import Client
from mm_lora.serving.server.readiness import served_models
from mm_lora.serving.server.remote import RemoteServer

NOBODY = "http://127.0.0.1:9"
CHAT = {
    "id": "1",
    "object": "chat.completion",
    "created": 0,
    "model": "base",
    "choices": [
        {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": "four"}}
    ],
}
EVENT = {**CHAT, "object": "chat.completion.chunk"}
EVENT["choices"] = [{"index": 0, "delta": {"content": "fo"}, "finish_reason": None}]


class Handler(BaseHTTPRequestHandler):
    """A vLLM in small. Its streams break off after the first event, as its death would."""

    def do_GET(self) -> None:
        self.server.seen.append(self.path)  # type: ignore[attr-defined]
        self._answer(json.dumps({"data": [{"id": "base"}], "version": "0.32.0"}).encode())

    def do_POST(self) -> None:
        asked = self.rfile.read(int(self.headers["Content-Length"]))
        if asked and json.loads(asked).get("stream"):
            event = f"data: {json.dumps(EVENT)}\n\n".encode()
            self._answer(event, "text/event-stream", missing=100)
        else:
            self._answer(json.dumps(CHAT).encode())

    def _answer(self, body: bytes, kind: str = "application/json", missing: int = 0) -> None:
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body) + missing))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *words: object) -> None:
        """Quiet."""


@pytest.fixture
def seen() -> list[str]:
    """The paths of GETs, whole URLs where the server is asked as a proxy."""
    return []


@pytest.fixture
def port(seen: list[str]) -> Iterator[int]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.seen = seen  # type: ignore[attr-defined]
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    yield server.server_port
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture(autouse=True)
def proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    """A proxy that nobody runs, and no exception from it."""
    for name in ("http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.setenv(name, NOBODY)
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    # openai tells the server its platform, for which Python starts `uname`.
    monkeypatch.setattr("platform.platform", lambda: "Linux")


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_a_server_on_this_machine_is_asked_directly(port: int, host: str) -> None:
    client = Client(f"http://{host}:{port}", 5)
    assert client.is_healthy()
    assert client.post("/reset_prefix_cache")[0] == 200
    assert client.ask(Request(model="base")).text == "four"
    client.close()
    remote = RemoteServer(f"http://{host}:{port}", None)
    remote.connect()
    assert remote.base == "base"


def test_a_server_of_our_own_is_ready(port: int) -> None:
    assert served_models(port) == ["base"]


def test_a_server_elsewhere_is_asked_through_the_proxy(
    port: int, seen: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    remote = RemoteServer("http://gpu.invalid:8000/tenant", None)
    with pytest.raises(TroubleError, match="proxy variables"):
        remote.connect()
    monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{port}")
    remote.connect()
    assert seen[0] == "http://gpu.invalid:8000/tenant/v1/models"


def test_a_proxy_that_cannot_be_used_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("all_proxy", "gopher://127.0.0.1:9")
    with pytest.raises(UsageError, match="environment's proxy cannot be used"):
        http.client("http://gpu.invalid", 5)
    http.client("http://127.0.0.1:8000", 5).close()


def test_a_stream_that_breaks_off_is_a_dead_server(port: int) -> None:
    client = Client(f"http://127.0.0.1:{port}", 5)
    with pytest.raises(ServerDied):
        client.ask(Request(model="base", stream=True))
    client.close()


@pytest.mark.parametrize(
    ("url", "here"),
    [
        ("http://127.0.0.1:8000", True),
        ("http://127.1.2.3/p", True),
        ("https://[::1]:8000", True),
        ("http://LOCALHOST", True),
        ("http://vllm.localhost:1", True),
        ("http://10.0.0.7:8000", False),
        ("http://localhost.example", False),
    ],
)
def test_what_counts_as_this_machine(url: str, here: bool) -> None:
    assert http.is_loopback(url) is here
