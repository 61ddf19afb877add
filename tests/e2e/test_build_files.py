"""Built checkpoints and adapters: the same bytes every time, usable by transformers and PEFT."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from mm_lora.adapters.built import BuiltAdapter
from mm_lora.adapters.sets import standard
from mm_lora.core import images
from mm_lora.core.asking import Picture
from mm_lora.core.cache import MANIFEST
from mm_lora.core.resources import harness_dir
from mm_lora.families import registry
from mm_lora.families.models import resolve
from mm_lora.families.vocabulary import answer_ids
from mm_lora.truth.build import Builder

LLAMA4 = registry.family("llama4")
PUBLISHED, STANDARD = LLAMA4.published, standard(LLAMA4)
MIN_EFFECT = 0.05
PYTHON = Path(sys.executable)


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """An empty cache for this file's tests."""
    folder = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MM_LORA_CACHE", str(folder))
        yield folder


@pytest.fixture(scope="module")
def builder(cache: Path) -> Iterator[Builder]:
    """One worker for all of them."""
    with Builder(PYTHON) as builder:
        yield builder


@pytest.fixture(scope="module")
def checkpoints(builder: Builder) -> dict[str, Path]:
    """The miniature of every published model."""
    return {name: builder.checkpoint(resolve(name)) for name in PUBLISHED}


@pytest.fixture(scope="module")
def adapters(builder: Builder) -> dict[str, dict[str, BuiltAdapter]]:
    """Every standard adapter for every miniature, and one whose B is zero for Scout."""
    zero = replace(STANDARD["all"], name="zero", strength=0.0)
    built = {name: builder.adapters(resolve(name), STANDARD.values()) for name in PUBLISHED}
    return built | {"scout": built["scout"] | builder.adapters(resolve("scout"), [zero])}


@pytest.fixture(scope="module")
def seen(
    checkpoints: dict[str, Path],
    adapters: dict[str, dict[str, BuiltAdapter]],
    tmp_path_factory: pytest.TempPathFactory,
) -> dict[str, Any]:
    """What transformers and PEFT alone make of them, in a process of their own."""
    picture = tmp_path_factory.mktemp("picture") / "dice.png"
    picture.write_bytes(images.png_bytes(images.draw("dice", (336, 336))))
    order = {
        "picture": str(picture),
        "checkpoints": {
            name: {
                "path": str(path),
                "adapters": {key: str(built.path) for key, built in adapters[name].items()},
            }
            for name, path in checkpoints.items()
        },
    }
    program = Path(__file__).with_name("with_transformers.py")
    done = subprocess.run(
        [str(PYTHON), str(program), json.dumps(order)],
        check=False,
        capture_output=True,
        text=True,
        timeout=240,
        env={
            **os.environ,
            "PYTHONPATH": str(harness_dir()),
            "HF_HUB_OFFLINE": "1",
            "OMP_NUM_THREADS": "1",
        },
    )
    assert done.returncode == 0, done.stderr[-3000:]
    answer: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return answer


@pytest.mark.parametrize("name", PUBLISHED)
def test_transformers_loads_and_generates(seen: dict[str, Any], name: str) -> None:
    got = seen[name]
    assert set(got["ids"]) <= set(answer_ids())
    assert len(got["ids"]) == 16
    assert "<|" not in got["text"]
    assert len(got["text"].split()) == 16
    assert got["vocabulary"][0] == got["vocabulary"][1]
    assert got["round_trip"] == "Äß 骰子 red\n"
    flow = LLAMA4.flow(resolve(name).layout, Picture(width=336, height=336))
    assert got["prompt_tokens"] > flow.prompt_tokens


@pytest.mark.parametrize("adapter", STANDARD)
@pytest.mark.parametrize("name", PUBLISHED)
def test_adapter_acts(
    seen: dict[str, Any],
    adapters: dict[str, dict[str, BuiltAdapter]],
    name: str,
    adapter: str,
) -> None:
    """With PEFT's own forward: well above the smallest effect that a check accepts, not absurd."""
    assert 5 * MIN_EFFECT < seen[name]["effects"][adapter] < 5
    assert seen[name]["modules"][adapter] == adapters[name][adapter].modules


def test_zero_b_changes_nothing(seen: dict[str, Any]) -> None:
    assert seen["scout"]["effects"]["zero"] == 0


def test_full_scout_in_seconds(builder: Builder) -> None:
    """The pull request's targets on the published widths: 331 modules, without any weights."""
    began = time.monotonic()
    spec = replace(STANDARD["pr35147"], dtype="bfloat16")
    built = builder.adapters(resolve("scout"), [spec], miniature=False)["pr35147"]
    assert time.monotonic() - began < 30
    assert built.modules == 331
    assert {row["group"]: row["modules"] for row in built.coverage} == {
        "tower-attention": 34 * 4,
        "vision-adapter": 2,
        "projector": 1,
        "language-model": 48 * 4,
    }
    assert built.bytes < 40e6
    config = json.loads((built.path / "adapter_config.json").read_text())
    assert (config["peft_type"], config["r"], config["lora_alpha"]) == ("LORA", 8, 16)


def test_same_seed_same_bytes(
    checkpoints: dict[str, Path],
    adapters: dict[str, dict[str, BuiltAdapter]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Another process, another hash seed, another cache; and another seed gives other weights."""
    monkeypatch.setenv("MM_LORA_CACHE", str(tmp_path))
    monkeypatch.setenv("PYTHONHASHSEED", "4711")
    scout = resolve("scout")
    with Builder(PYTHON) as builder:
        again = builder.checkpoint(scout)
        other = builder.checkpoint(scout, seed=1)
        built = builder.adapters(scout, STANDARD.values())
    assert contents(again) == contents(checkpoints["scout"])
    for name, adapter in built.items():
        assert contents(adapter.path) == contents(adapters["scout"][name].path)
    changed = {n for n, data in contents(other).items() if data != contents(again)[n]}
    assert changed == {"model.safetensors"}


def contents(folder: Path) -> dict[str, bytes]:
    """Every file's bytes, the manifest's apart."""
    return {f.name: f.read_bytes() for f in folder.iterdir() if f.name != MANIFEST}


def test_two_processes_at_once_build_once(tmp_path: Path) -> None:
    program = (
        "import sys; from pathlib import Path; from mm_lora.truth.build import Builder\n"
        "from mm_lora.families.models import resolve\n"
        "with Builder(Path(sys.executable), print) as b: print(b.checkpoint(resolve('scout')))"
    )
    env = {**os.environ, "PYTHONPATH": str(harness_dir()), "MM_LORA_CACHE": str(tmp_path)}
    both = [
        subprocess.Popen([str(PYTHON), "-c", program], env=env, stdout=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    said = [process.communicate(timeout=120)[0].splitlines() for process in both]
    assert [process.returncode for process in both] == [0, 0]
    assert said[0][-1] == said[1][-1]
    assert sum("building the miniature" in line for lines in said for line in lines) == 1


def test_damaged_cache_is_built_again(checkpoints: dict[str, Path], cache: Path) -> None:
    weights = checkpoints["scout"] / "model.safetensors"
    whole = weights.read_bytes()
    weights.write_bytes(whole[:1000])
    said: list[str] = []
    with Builder(PYTHON, said.append) as builder:
        assert builder.checkpoint(resolve("scout")) == checkpoints["scout"]
    assert weights.read_bytes() == whole
    assert any("is damaged (model.safetensors has 1000 bytes" in line for line in said)
    assert cache in weights.parents
