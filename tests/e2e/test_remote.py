"""`verify --base-url` against a real vLLM started by hand, with an API key and a path prefix."""

import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cli_run import Verify

from mm_lora.adapters.broken import broken_copy
from mm_lora.adapters.sets import for_server, named
from mm_lora.families.models import resolve
from mm_lora.run.options import RunOptions
from mm_lora.run.plan import Wish, family_flags, server_spec
from mm_lora.run.profiles import load
from mm_lora.serving import http
from mm_lora.serving.client import Client
from mm_lora.serving.server.process import VllmServer
from mm_lora.serving.server.readiness import get
from mm_lora.truth.build import Builder

KEY = "a-secret-of-this-test"
PREFIX = "/tenant/one"
LOADED = "vision-adapter"


@pytest.fixture(scope="module")
def started(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[VllmServer, Path]]:
    """A miniature with one adapter; it asks for a key, so that only /health tells it is ready."""
    with Builder(Path(sys.executable)) as builder:
        scout = resolve("scout")
        checkpoint = builder.checkpoint(scout)
        one = for_server(named(scout.family, LOADED), "bfloat16")
        adapters = builder.adapters(scout, [one])
    flags = (("api-key", KEY), ("max-loras", 16), ("root-path", PREFIX))
    defaults = family_flags(scout.family)
    wish = Wish(model="scout", adapters=(LOADED,), flags=flags, defaults=defaults)
    server = VllmServer(
        server_spec(wish, (LOADED,), load("rehearsal"), RunOptions()),
        python=Path(sys.executable),
        checkpoint=checkpoint,
        adapters={LOADED: adapters[LOADED].path},
        folder=tmp_path_factory.mktemp("server"),
        ready_timeout_s=300,
    )
    try:
        server.start()
        deadline = time.monotonic() + 300
        while (get(server.port, "/health") or (0,))[0] != 200:
            server.poll()
            assert time.monotonic() < deadline
            time.sleep(0.5)
        yield server, checkpoint
    finally:
        server.stop()


@pytest.fixture
def client(started: tuple[VllmServer, Path]) -> Iterator[Client]:
    client = Client(started[0].base_url + PREFIX, 60, KEY)
    yield client
    client.close()


def verify(started: tuple[VllmServer, Path], reports: Path, *words: str, key: str = KEY) -> Verify:
    server, checkpoint = started
    url = f"{server.base_url}{PREFIX}/v1/"
    given = ["--base-url", url, "--model", str(checkpoint), *words]
    return Verify(*given, reports=reports, environment={"MM_LORA_API_KEY": key}).end()


def names(started: tuple[VllmServer, Path]) -> set[str]:
    answer = http.request("GET", started[0].base_url + PREFIX, "/v1/models", 30, KEY)
    return {one["id"] for one in answer.json()["data"]}


def test_judged_by_its_answers_alone(started: Any, tmp_path: Path) -> None:
    run = verify(started, tmp_path)
    outcomes = run.outcomes()
    assert run.code == 0, run.text
    model = started[1].name
    assert outcomes[f"dice/{model}/{LOADED}/picture"] == "pass"
    assert outcomes[f"relations/{model}/projector/moves"] == "pass"  # loaded over HTTP
    assert outcomes[f"relations/{model}/rank-permuted/equal"] == "pass"
    reasons = {c["id"]: c["reason"] for c in run.report["checks"] if c["outcome"] == "skip"}
    assert reasons[f"dice/{model}/server/log"].startswith("no-log")
    assert reasons[f"dice/{model}/{LOADED}/effect"].startswith("no-reference")
    assert reasons[f"arithmetic/{model}/rows/text-only"].startswith("no-rows")
    assert set(outcomes.values()) == {"pass", "skip"}
    assert names(started) == {"base", LOADED}  # what was loaded is taken off again
    kept = b"".join(f.read_bytes() for f in tmp_path.rglob("*") if f.is_file())
    assert KEY not in run.text
    assert KEY.encode() not in kept


def test_an_adapter_without_effect_fails(started: Any, client: Client, tmp_path: Path) -> None:
    with Builder(Path(sys.executable)) as builder:
        scout = resolve("scout")
        one = for_server(named(scout.family, LOADED), "bfloat16")
        good = builder.adapters(scout, [one])[LOADED].path
    broken = broken_copy(good, tmp_path / "broken", "zero-b")

    def put(folder: Path) -> None:
        client.post("/v1/unload_lora_adapter", {"lora_name": LOADED})
        body = {"lora_name": LOADED, "lora_path": str(folder)}
        assert client.post("/v1/load_lora_adapter", body)[0] == 200

    put(broken)
    try:
        check = f"relations/{started[1].name}/{LOADED}/moves"
        run = verify(started, tmp_path / "reports", "--only", check)
        assert run.code == 1
        assert run.outcomes() == {check: "fail"}
    finally:
        put(good)


def test_a_wrong_key_or_address_is_said_clearly(started: Any, tmp_path: Path) -> None:
    run = verify(started, tmp_path, key="another-secret")
    assert run.code == 3
    assert "does not accept the API key (HTTP 401)" in run.text
    assert "another-secret" not in run.text
    os.environ.pop("OPENAI_API_KEY", None)
    assert "wants an API key" in verify(started, tmp_path, key="").text
    nobody = Verify("--base-url", "http://127.0.0.1:9", reports=tmp_path).end()
    assert nobody.code == 3
    assert "no server answers" in nobody.text
