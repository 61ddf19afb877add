"""The probe on real vLLM: right rows in mixed batches, every tensor used, no answer changed."""

import sys
import threading
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from mm_lora.adapters.built import BuiltAdapter
from mm_lora.adapters.sets import named
from mm_lora.checks.adapter_use import tensor_names, tensor_use
from mm_lora.checks.compare_rows import (
    Sent,
    encoder_passes,
    step_mismatches,
    wrapper_mismatches,
)
from mm_lora.checks.row_evidence import evidence
from mm_lora.core.asking import BASE, Picture
from mm_lora.families import registry
from mm_lora.families.models import resolve
from mm_lora.run.plan import family_flags, spelled
from mm_lora.run.profiles import load
from mm_lora.serving import http
from mm_lora.serving.media_parts import data_url
from mm_lora.serving.probe import Probe
from mm_lora.serving.probe_records import Request, Step
from mm_lora.serving.server.cradle import Cradles
from mm_lora.serving.server.process import VllmServer
from mm_lora.serving.server.spec import ServerSpec
from mm_lora.truth.build import Builder

LLAMA4 = registry.family("llama4")
ADAPTERS = ("tower-attention", "all")
PYTHON = Path(sys.executable)
SIZES = ((336, 336), (700, 400), (100, 60), (400, 300))


class Asker:
    """Sends chat requests with an id of their own."""

    def __init__(self, base_url: str, model: str) -> None:
        self.base_url = base_url
        self.model = model
        self.sent: dict[str, Sent] = {}
        self._lock = threading.Lock()

    def ask(
        self, adapter: str | None, sizes: tuple[tuple[int, int], ...], seed: int
    ) -> list[float]:
        layout = resolve(self.model).layout
        with self._lock:
            name = f"r{len(self.sent)}"
            pictures = [Picture(width=width, height=height) for width, height in sizes]
            flows = tuple(LLAMA4.flow(layout, picture) for picture in pictures)
            self.sent[name] = Sent(adapter, flows)
        parts: list[dict[str, Any]] = [
            {
                "type": "image_url",
                "image_url": {"url": data_url(Picture(kind="noise", width=w, height=h, seed=seed))},
            }
            for w, h in sizes
        ]
        body = {
            "model": adapter or BASE,
            "messages": [{"role": "user", "content": [*parts, {"type": "text", "text": "dice?"}]}],
            "max_tokens": 4,
            "temperature": 0,
            "logprobs": True,
            "ignore_eos": True,
        }
        with http.client(self.base_url, 120) as asking:
            answer = asking.post("/v1/chat/completions", json=body, headers={"X-Request-Id": name})
        tokens = answer.raise_for_status().json()["choices"][0]["logprobs"]["content"]
        return [token["logprob"] for token in tokens]


Files = tuple[Path, dict[str, BuiltAdapter]]


@pytest.fixture(scope="module")
def built() -> Iterator[Files]:
    with Builder(PYTHON) as builder:
        scout = resolve("scout")
        yield (
            builder.checkpoint(scout),
            builder.adapters(scout, [named(LLAMA4, name) for name in ADAPTERS]),
        )


def server(folder: Path, built: Files, cradles: Cradles, *, probe: bool) -> VllmServer:
    profile = load("cpu")
    flags = {
        "dtype": profile.dtype,
        **dict(family_flags(LLAMA4)),
        **profile.flags,
        "max-loras": 3,
    }
    spec = ServerSpec(
        model="scout",
        adapters=ADAPTERS,
        flags=tuple((name, spelled(value)) for name, value in flags.items()),
        env=tuple(sorted(profile.env.items())),
        probe=probe,
    )
    return VllmServer(
        spec,
        python=PYTHON,
        checkpoint=built[0],
        adapters={name: adapter.path for name, adapter in built[1].items()},
        folder=folder,
        ready_timeout_s=300,
        cradles=cradles,
    )


def encoder_requests(steps: Iterable[Step]) -> list[Request]:
    return [request for step in steps if step.kind == "encoder" for request in step.requests]


def solo(asker: Asker) -> list[list[float]]:
    return [
        asker.ask(adapter, (size,), seed)
        for seed, (adapter, size) in enumerate(zip((None, *ADAPTERS, None), SIZES, strict=True))
    ]


def test_rows_coverage_and_unchanged_answers(
    tmp_path: Path, built: Files, cradles: Cradles
) -> None:
    with server(tmp_path / "with", built, cradles, probe=True) as running:
        asker = Asker(running.base_url, "scout")
        probe = Probe(running.folder / "probe")
        (worker,) = probe.workers()
        assert wrapper_mismatches(LLAMA4, worker) == []
        assert {LLAMA4.role_of_layer(module.path, module.parts) for module in worker.modules} == {
            "tower",
            "connector",
            "language",
        }
        observed = solo(asker)
        mark = probe.mark()
        with ThreadPoolExecutor(6) as threads:
            batch = [
                (name, SIZES[: 1 + i % 3], 10 + i) for i, name in enumerate((*ADAPTERS, None) * 2)
            ]
            list(threads.map(lambda asked: asker.ask(*asked), batch))
        seen = probe.since(mark)
        assert (seen.lost, seen.torn) == (0, 0)
        assert any(len(step.requests) > 1 for step in seen.steps), "nothing was batched"
        every = probe.since()
        found = [
            bad
            for step, place in zip(every.steps, encoder_passes(every.steps), strict=True)
            for bad in step_mismatches(LLAMA4, worker, step, asker.sent, place)
        ]
        assert found == []
        # A request's pictures may be encoded in several steps, each of them once.
        encoded = sum(len(request.images) for request in encoder_requests(every.steps))
        assert encoded == sum(len(asked.flows) for asked in asker.sent.values())
        uses = {use.adapter: use for use in probe.adapters()}
        for name, adapter in built[1].items():
            use = tensor_use(tensor_names(adapter.path), uses[name])
            assert use.is_exact, (name, use.ignored, use.unasked)
    with server(tmp_path / "without", built, cradles, probe=False) as running:
        assert solo(Asker(running.base_url, "scout")) == observed
        assert not (running.folder / "probe").exists()


COUNTS = {
    "mutant-forget-cls": 4032,
    "mutant-ratio-not-squared": 2016,
    "mutant-chunk-lost": 3462,
}


@pytest.fixture(scope="module")
def miscounting(
    tmp_path_factory: pytest.TempPathFactory, built: Files, cradles: Cradles
) -> Iterator[tuple[VllmServer, Asker]]:
    """A server on which each wrong count acts while its own name is judged, and who asks it."""
    in_turn = (f"{name}@{name}" for name in COUNTS)
    with mutated(tmp_path_factory.mktemp("counts"), built, cradles, *in_turn) as running:
        yield running, Asker(running.base_url, "scout")


def mutated(folder: Path, built: Files, cradles: Cradles, *mutants: str) -> VllmServer:
    made = server(folder, built, cradles, probe=True)
    made.spec = ServerSpec(**{**vars(made.spec), "patches": ("auto", *mutants)})
    return made


def seen_of_a_base_request(
    running: VllmServer, asker: Asker, seed: int = 0
) -> set[tuple[str, object]]:
    """It runs no LoRA kernel, so that a wrong count kills nothing, and yet shows."""
    probe = Probe(running.folder / "probe")
    mark = probe.mark()
    asker.ask(None, (SIZES[1],), seed)
    seen = evidence(LLAMA4, probe.workers(), probe.since(mark), asker.sent)
    return {(bad.what, bad.observed) for bad in seen.mismatches}


@pytest.mark.parametrize("mutant", COUNTS)
def test_a_wrong_count_is_seen_without_any_crash(
    miscounting: tuple[VllmServer, Asker], mutant: str
) -> None:
    running, asker = miscounting
    seed = 2 * list(COUNTS).index(mutant)  # pictures of its own: no cache may know them
    assert seen_of_a_base_request(running, asker, seed) == set()
    running.judging(mutant)
    try:
        seen = seen_of_a_base_request(running, asker, seed + 1)
    finally:
        running.judging("")
    assert ("rows mapped", COUNTS[mutant]) in seen
    (worker,) = Probe(running.folder / "probe").workers()
    assert wrapper_mismatches(LLAMA4, worker) == []


def test_a_wrong_wrapper_is_seen_without_any_crash(
    tmp_path: Path, built: Files, cradles: Cradles
) -> None:
    with mutated(tmp_path, built, cradles, "mutant-adapter-under-tower") as running:
        asker = Asker(running.base_url, "scout")
        assert ("wrapper", "tower") in seen_of_a_base_request(running, asker)
        (worker,) = Probe(running.folder / "probe").workers()
        assert wrapper_mismatches(LLAMA4, worker)
