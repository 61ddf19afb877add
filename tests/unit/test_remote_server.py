"""What a remote server says of itself, against a server in this process; the key stays hidden."""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from mm_lora.core.asking import Request
from mm_lora.core.errors import TroubleError
from mm_lora.serving.client import Client, whole_answer
from mm_lora.serving.remote_adapters import LOAD, UNLOAD, RemoteAdapters
from mm_lora.serving.server.remote import RemoteServer, api_key, root_of

KEY = "a-secret"


class Fake(ThreadingHTTPServer):
    """Lists a base and one adapter; loads adapters where `loads`, echoing what it was sent."""

    loads = True
    seen: list[tuple[str, dict[str, str]]]


class Handler(BaseHTTPRequestHandler):
    server: Fake

    def do_GET(self) -> None:
        models = [{"id": "real/name", "parent": None}, {"id": "theirs", "parent": "real/name"}]
        self._answer(200 if self._knows_us() else 401, {"data": models, "version": "0.32.0"})

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])) or b"{}")
        self.server.seen.append((self.path, body))
        if not self.server.loads:
            self._answer(404, {})
        elif body.get("lora_name") == "bad" or not body:
            self._answer(400, {"error": f"not for {self.headers['Authorization']}"})
        else:
            self._answer(200, {})

    def _knows_us(self) -> bool:
        return bool(self.headers.get("Authorization") == f"Bearer {KEY}")

    def _answer(self, status: int, body: object) -> None:
        self.send_response(status)
        self.end_headers()
        self.wfile.write(json.dumps(body).encode())

    def log_message(self, *words: object) -> None:
        """Quiet."""


@pytest.fixture
def fake() -> Iterator[Fake]:
    server = Fake(("127.0.0.1", 0), Handler)
    server.seen = []
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def url(fake: Fake) -> str:
    return f"http://127.0.0.1:{fake.server_port}/prefix"


def test_what_it_serves(fake: Fake) -> None:
    remote = RemoteServer(url(fake), KEY)
    remote.connect()
    assert (remote.base, remote.adapters, remote.version) == ("real/name", ("theirs",), "0.32.0")


@pytest.mark.parametrize(("key", "why"), [(None, "wants an API key"), ("x", "does not accept")])
def test_a_missing_or_wrong_key(fake: Fake, key: str | None, why: str) -> None:
    with pytest.raises(TroubleError, match=why) as caught:
        RemoteServer(url(fake), key).connect()
    assert caught.value.exit_code == 3


def test_adapters_are_loaded_where_it_allows_and_taken_off_again(fake: Fake) -> None:
    client = Client(url(fake), 5, KEY)
    adapters = RemoteAdapters(
        client, ["theirs"], lambda names: {name: Path(name) for name in names}
    )
    adapters.want(["theirs", "ours", "bad"])
    assert set(adapters.absent) == {"bad"}
    assert "HTTP 400" in adapters.absent["bad"]
    assert KEY not in adapters.absent["bad"]  # the server said it
    client.close()  # after the last check, before what was loaded is taken off
    adapters.close()
    prefix = "/prefix"
    names = [(path, body.get("lora_name")) for path, body in fake.seen]
    assert (prefix + LOAD, "theirs") not in names
    assert names[-1] == (prefix + UNLOAD, "ours")


def test_a_server_that_loads_nothing_is_not_asked_again(fake: Fake) -> None:
    fake.loads = False
    client = Client(url(fake), 5, KEY)
    built: list[str] = []
    adapters = RemoteAdapters(client, [], lambda names: built.extend(names) or {})
    adapters.want(["one", "two"])
    assert set(adapters.absent) == {"one", "two"}
    assert "HTTP 404" in adapters.absent["one"]
    assert not built  # no adapter is built for nothing
    assert len(fake.seen) == 1
    client.close()


def test_an_answer_without_an_answer_is_an_error() -> None:
    answer = whole_answer(Request(model="theirs"), {"error": {"message": "engine died"}})
    assert answer.status == 500
    assert "engine died" in str(answer.raw)


def test_key_and_address() -> None:
    assert api_key({"OPENAI_API_KEY": "o"}) == "o"
    assert api_key({"OPENAI_API_KEY": "o", "MM_LORA_API_KEY": "m"}) == "m"
    assert api_key({"MM_LORA_API_KEY": ""}) is None
    for given in ("https://h/p", "https://h/p/", "https://h/p/v1", "https://h/p/v1/"):
        assert root_of(given) == "https://h/p"
