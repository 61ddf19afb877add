"""What a machine lacks for a profile is said before anything starts."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from mm_lora.core import hub_cache
from mm_lora.core.errors import TroubleError, UsageError
from mm_lora.families.models import resolve
from mm_lora.run import needs
from mm_lora.run.profiles import load
from mm_lora.serving import gpus, hub

GPU = load("gpu")
SCOUT = "nvidia/Llama-4-Scout-17B-16E-Instruct-FP8"
H100 = "{0}, NVIDIA H100 80GB HBM3, 81559, 81000, 570.86.15"


def machine(line: str, count: int) -> list[gpus.Gpu]:
    return gpus.parse("\n".join(line.format(index) for index in range(count)))


def test_four_free_h100_are_enough() -> None:
    needs.require_gpus(GPU, machine(H100, 4))
    needs.require_gpus(load("cpu"), [])


@pytest.mark.parametrize(
    ("found", "why"),
    [
        ([], "no NVIDIA GPU"),
        (machine(H100, 2), "2 can be seen: NVIDIA H100"),
        (machine("{0}, NVIDIA A100-SXM4-40GB, 40960, 40000, 570", 4), r"here are .*\(43 GB\)"),
        (machine("{0}, NVIDIA H100 80GB HBM3, 81559, 2000, 570", 4), "GPU 0 has 2 GB free"),
    ],
)
def test_too_few_too_small_or_used_gpus_are_refused(found: list[gpus.Gpu], why: str) -> None:
    with pytest.raises(TroubleError, match=why) as caught:
        needs.require_gpus(GPU, found)
    assert caught.value.exit_code == 3
    assert caught.value.check


def test_only_the_gpus_that_vllm_would_see_count() -> None:
    four = machine(H100, 4)
    assert [g.index for g in gpus.visible(four, {"CUDA_VISIBLE_DEVICES": "1,3"})] == [1, 3]
    assert gpus.visible(four, {"CUDA_VISIBLE_DEVICES": ""}) == []
    assert gpus.visible(four, {"CUDA_VISIBLE_DEVICES": "GPU-a1"}) == four
    assert gpus.visible(four, {}) == four


def test_a_driver_that_does_not_work_says_so() -> None:
    with pytest.raises(TroubleError, match="No devices were found"):
        gpus.parse("No devices were found")


def test_an_old_driver_is_refused() -> None:
    header = "| NVIDIA-SMI 535.1  Driver Version: 535.1  CUDA Version: 12.2 |"
    assert gpus.cuda_of_driver(lambda _: header) == "12.2"
    needs.require_driver("12.2", "12.9")
    needs.require_driver("13.0", None)
    with pytest.raises(TroubleError, match=r"CUDA 12\.2 at most"):
        needs.require_driver("12.2", "13.0")


def downloaded(cache: Path, *, shards: int = 2, commit: str = "abc") -> Path:
    kept = cache / f"models--{SCOUT.replace('/', '--')}"
    folder = kept / "snapshots" / commit
    folder.mkdir(parents=True)
    (kept / "refs").mkdir()
    (kept / "refs" / "main").write_text(commit)
    config = resolve("scout").config
    (folder / "config.json").write_text(json.dumps(config))
    index = {"weight_map": {f"t{n}": f"model-{n}.safetensors" for n in range(2)}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    for n in range(shards):
        (folder / f"model-{n}.safetensors").write_bytes(b"")
    return folder


def test_a_repository_counts_as_downloaded_when_all_shards_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    before = resolve(SCOUT)
    assert (before.name, before.is_real, before.weights) == ("scout", True, None)
    assert before.layout.image_size == 336
    folder = downloaded(tmp_path, shards=1)
    assert resolve(SCOUT).weights is None
    (folder / "model-1.safetensors").write_bytes(b"")
    after = resolve(SCOUT)
    assert (after.name, after.weights) == ("scout", folder.resolve())
    assert after.source == f"the config.json of {SCOUT}"
    assert hub_cache.snapshot(SCOUT, "abc") == folder
    assert hub_cache.snapshot(SCOUT, "other") is None


def test_an_unknown_repository_needs_its_files() -> None:
    with pytest.raises(UsageError, match="is not on this disk"):
        resolve("somebody/Llama-4-Something")


def test_what_will_be_downloaded_is_said_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    asked: list[str] = []
    monkeypatch.setattr(hub, "require_access", lambda name, revision: asked.append(name))
    said: list[str] = []
    small = replace(GPU, needs=replace(GPU.needs, download_gb=0))
    needs.require_weights(small, [resolve(SCOUT)], said.append)
    assert asked == [SCOUT]
    assert SCOUT in said[0]
    assert "to download" in said[0]
    huge = replace(GPU, needs=replace(GPU.needs, download_gb=10**9))
    with pytest.raises(TroubleError, match="GB free, and the model takes"):
        needs.require_weights(huge, [resolve(SCOUT)], said.append)
    downloaded(tmp_path)
    needs.require_weights(huge, [resolve(SCOUT)], said.append)


@pytest.mark.parametrize(
    ("error", "why", "hint"),
    [
        ("gated", "is gated", "HF_TOKEN"),
        ("not-found", "no such name, or a missing HF_TOKEN", "HF_TOKEN"),
        ("no-revision", "no revision 'r1'", "revision"),
        ("other", "cannot be fetched: no route", "HF_ENDPOINT"),
    ],
)
def test_a_refusal_of_the_hub_says_what_to_do(error: str, why: str, hint: str) -> None:
    refused = hub.refusal(SCOUT, "r1", {"error": error, "said": "no route"})
    assert why in refused.what
    assert hint in refused.check
