"""The real huggingface_hub against a hub in this process: what its refusals become here."""

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from mm_lora.core.errors import TroubleError
from mm_lora.serving import hub

NAME = "nvidia/Llama-4-Scout-17B-16E-Instruct-FP8"


class Refuses(BaseHTTPRequestHandler):
    """Answers as the hub does: status and X-Error-Code."""

    status, error = 403, "GatedRepo"

    def do_HEAD(self) -> None:
        self.send_response(self.status)
        self.send_header("X-Error-Code", self.error)
        self.send_header("X-Error-Message", "a message of the hub's")
        self.send_header("Content-Length", "0")
        self.end_headers()

    def do_GET(self) -> None:
        self.do_HEAD()

    def log_message(self, *words: object) -> None:
        """Quiet."""


@pytest.fixture
def endpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Refuses)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{server.server_port}")
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    yield
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.mark.parametrize(
    ("status", "error", "why"),
    [
        (403, "GatedRepo", "is gated"),
        (401, "RepoNotFound", "no such name, or a missing HF_TOKEN"),
        (404, "RevisionNotFound", "no revision"),
    ],
)
def test_a_refusal_is_said_clearly(
    endpoint: None, monkeypatch: pytest.MonkeyPatch, status: int, error: str, why: str
) -> None:
    monkeypatch.setattr(Refuses, "status", status)
    monkeypatch.setattr(Refuses, "error", error)
    with pytest.raises(TroubleError, match=why) as caught:
        hub.require_access(NAME, "")
    assert caught.value.exit_code == 3


def test_no_hub_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(TroubleError, match="cannot be fetched"):
        hub.require_access(NAME, "")
