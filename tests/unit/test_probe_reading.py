"""The probe's files: written in bounded segments, read whole, torn, oversized or half gone."""

import json
import os
from pathlib import Path
from typing import Any

import pytest

from mm_lora.core.errors import PatchError, TroubleError
from mm_lora.inside.probe_file import SegmentedFile, segment_files, write_once
from mm_lora.inside.probe_records import (
    ENCODER,
    LANGUAGE,
    Call,
    Mapped,
    Step,
    longest_prefix,
    ranges,
    records,
    runs_of,
)
from mm_lora.serving.probe import Probe
from mm_lora.serving.probe_records import Observed

TOWER = Mapped("tower", 3, 1154, ((1, 577), (0, 577)))
PREFIXES = {
    "language": ["language_model"],
    "connector": ["multi_modal_projector.", "vision_model.vision_adapter."],
    "tower": ["vision_model."],
}


def a_step(number: int, raised: str | None = None) -> list[dict[str, Any]]:
    calls: dict[str, list[list[Call]]] = {
        ENCODER: [[(0, 1154, TOWER), (1, 1154, TOWER)]],
        LANGUAGE: [[(2, 9, None)]],
    }
    requests = [{"id": "a", "adapter": "dice", "tokens": 9, "images": [0]}]
    lines = records(Step(number, requests, calls, raised), {1: "dice"})
    return [{"step": number, **line} for line in lines]


def write_modules(
    folder: Path, missing: tuple[str, ...] = (), worker: str = "probe-7", rank: int = 0
) -> None:
    paths = ("vision_model.a", "vision_model.b", "language_model.c")
    modules = [
        {
            "path": path,
            "wrapper_class": "RowParallelLinearWithLoRA",
            "base_class": "RowParallelLinear",
            "held": "tower",
            "by_prefix": longest_prefix(path, PREFIXES),
            "parts": [path],
            "slices": 1,
        }
        for path in paths
    ]
    write_once(
        folder / f"{worker}.modules.json",
        {
            "schema": 1,
            "rank": rank,
            "slots": 4,
            "compiled": False,
            "prefixes": PREFIXES,
            "modules": modules,
            "unwrapped": [{"path": "x", "base_class": "LinearBase", "reason": "none"}],
            "missing": list(missing),
        },
    )


def test_what_is_written_is_read(tmp_path: Path) -> None:
    write_modules(tmp_path)
    file = SegmentedFile(tmp_path / "probe-7.steps")
    file.append(a_step(1))
    probe = Probe(tmp_path)
    encoder, language = probe.since().steps
    assert (encoder.kind, language.kind) == ("encoder", "language")
    assert encoder.requests[0].adapter == "dice"
    (call,) = encoder.calls
    assert call.paths == ("vision_model.a", "vision_model.b")
    assert call.mapped is not None
    assert (call.rows, call.mapped.rows) == (1154, 1154)
    assert call.mapped.runs == (("dice", 577), (None, 577))
    assert language.calls[0].mapped is None
    (worker,) = probe.workers()
    assert [module.by_prefix for module in worker.modules] == ["tower", "tower", "language"]
    assert worker.unwrapped[0].reason == "none"


def test_since_a_mark_there_is_only_what_came_after(tmp_path: Path) -> None:
    write_modules(tmp_path)
    file = SegmentedFile(tmp_path / "probe-7.steps", segment_bytes=700, segments=100)
    probe = Probe(tmp_path)
    assert probe.mark() == {"probe-7": 0}
    for number in range(1, 10):
        file.append(a_step(number))
    mark = probe.mark()
    assert probe.since(mark).steps == ()
    file.append(a_step(10))
    seen = probe.since(mark)
    assert [step.number for step in seen.steps] == [10, 10]
    assert (seen.lost, seen.torn) == (0, 0)
    assert len(probe.since().steps) == 20


def test_the_file_is_bounded_and_the_reader_counts_what_was_dropped(tmp_path: Path) -> None:
    write_modules(tmp_path)
    file = SegmentedFile(tmp_path / "probe-7.steps", segment_bytes=2000, segments=3)
    for number in range(1, 200):
        file.append(a_step(number))
    files = segment_files(tmp_path, "probe-7.steps")
    assert len(files) == 3
    assert sum(path.stat().st_size for path in files) <= 6000
    seen = Probe(tmp_path).since()
    assert seen.steps[-1].number == 199
    assert seen.lost == 2 * 199 - len(seen.steps) > 0


def test_a_torn_last_line_is_skipped_and_counted(tmp_path: Path) -> None:
    write_modules(tmp_path)
    file = SegmentedFile(tmp_path / "probe-7.steps")
    file.append(a_step(1))
    file.close()
    (path,) = segment_files(tmp_path, "probe-7.steps")
    whole = path.read_bytes()
    for cut in range(len(whole)):
        path.write_bytes(whole[:cut])
        seen = Probe(tmp_path).since()
        assert len(seen.steps) <= 2
        assert seen.torn <= 1
    path.write_bytes(whole + b'{"seq": 3}\xff\x00\n[]\nnull\n')
    assert Probe(tmp_path).since().torn == 3


def test_a_full_disk_costs_lines_not_the_worker(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_modules(tmp_path)
    file = SegmentedFile(tmp_path / "probe-7.steps")
    file.append(a_step(1))
    real = os.write

    def torn(descriptor: int, data: bytes) -> int:
        real(descriptor, data[:40])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "write", torn)
    file.append(a_step(2))
    monkeypatch.setattr(os, "write", real)
    file.append(a_step(3))
    seen = Probe(tmp_path).since()
    assert [step.number for step in seen.steps] == [1, 1, 3, 3]
    assert (seen.lost, seen.torn, file.failed) == (2, 1, 2)


def test_a_server_killed_before_its_list_of_layers_reads_as_nothing(tmp_path: Path) -> None:
    (tmp_path / "probe-7.modules.json.part").write_text('{"rank":', encoding="utf-8")
    for folder in (tmp_path, tmp_path / "never-made"):
        probe = Probe(folder)
        assert probe.workers() == ()
        assert probe.since(probe.mark()) == Observed(())
        assert probe.adapters() == ()


def test_a_folder_that_is_gone_costs_lines_not_the_worker(tmp_path: Path) -> None:
    file = SegmentedFile(tmp_path / "gone" / "probe-7.steps")
    file.append(a_step(1))
    write_once(tmp_path / "gone" / "x.json", {})
    assert file.failed == 2


def test_a_step_that_died_is_told(tmp_path: Path) -> None:
    write_modules(tmp_path)
    SegmentedFile(tmp_path / "probe-7.steps").append(a_step(1, "RuntimeError: einsum 577 576"))
    encoder, language = Probe(tmp_path).since().steps
    assert encoder.raised is None
    assert language.raised == "RuntimeError: einsum 577 576"


def test_a_step_that_died_before_any_layer_is_told() -> None:
    step = Step(1, [{"id": "a", "images": []}], {ENCODER: [], LANGUAGE: [[]]}, "RuntimeError: x")
    (line,) = records(step, {})
    assert (line["kind"], line["raised"], line["calls"]) == ("language", "RuntimeError: x", [])


def test_lost_hook_points_are_errors_by_name(tmp_path: Path) -> None:
    write_modules(tmp_path, missing=("LoRAModelManager.activate_adapter",))
    with pytest.raises(PatchError, match="activate_adapter"):
        Probe(tmp_path).workers()


def test_a_broken_list_is_trouble(tmp_path: Path) -> None:
    (tmp_path / "probe-7.modules.json").write_text("{", encoding="utf-8")
    with pytest.raises(TroubleError, match="list of layers"):
        Probe(tmp_path).workers()


def test_a_whole_line_of_another_format_is_trouble_not_a_gap(tmp_path: Path) -> None:
    write_modules(tmp_path)
    SegmentedFile(tmp_path / "probe-7.steps").append([{"kind": "encoder", "step": "one"}])
    with pytest.raises(TroubleError, match=r"probe-7\.steps: .*\.step"):
        Probe(tmp_path).since()


def test_adapters(tmp_path: Path) -> None:
    write_modules(tmp_path)
    line = {
        "adapter": "dice",
        "id": 1,
        "slot": 0,
        "kept": {"vision_model.a": ["lora_A", "lora_B"]},
        "used": {"vision_model.a": ["vision_model.a"], "vision_model.b": [None]},
    }
    SegmentedFile(tmp_path / "probe-7.adapters").append([line])
    (use,) = Probe(tmp_path).adapters()
    assert (use.adapter, use.slot) == ("dice", 0)
    assert use.used["vision_model.b"] == (None,)


def test_several_workers_are_read_by_rank(tmp_path: Path) -> None:
    write_modules(tmp_path, worker="probe-7")
    write_modules(tmp_path, worker="probe-77", rank=1)
    SegmentedFile(tmp_path / "probe-7.steps").append(a_step(1))
    SegmentedFile(tmp_path / "probe-77.steps").append(a_step(1))
    steps = Probe(tmp_path).since().steps
    assert [step.worker for step in steps] == ["probe-7"] * 2 + ["probe-77"] * 2


def test_of_a_rank_that_was_started_again_the_last_counts(tmp_path: Path) -> None:
    write_modules(tmp_path, worker="probe-9")
    write_modules(tmp_path, worker="probe-10")
    os.utime(tmp_path / "probe-9.modules.json", (1, 1))
    assert [worker.name for worker in Probe(tmp_path).workers()] == ["probe-10"]


def test_runs_and_ranges() -> None:
    assert runs_of([1, 1, 0, 2, 2, 2]) == ((1, 2), (0, 1), (2, 3))
    assert runs_of([]) == ()
    assert ranges([0, 1, 2, 5, 6, 0]) == [[0, 2], [5, 6], [0, 0]]


def test_two_passes_of_the_encoder_stay_apart() -> None:
    calls: dict[str, list[list[Call]]] = {
        ENCODER: [[(0, 577, None)], [(0, 144, None)]],
        LANGUAGE: [[]],
    }
    lines = records(Step(1, [{"id": "a", "images": [0]}], calls), {})
    assert [line["calls"][0][0] for line in lines] == [577, 144]
    assert json.dumps(lines)


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("vision_model.vision_adapter.mlp.fc1", "connector"),
        ("vision_model.model.layers.0.mlp.fc1", "tower"),
        ("multi_modal_projector.linear_1", "connector"),
        ("language_model.model.layers.0.self_attn.qkv_proj", "language"),
        ("somewhere.else", None),
    ],
)
def test_longest_prefix(path: str, kind: str | None) -> None:
    assert longest_prefix(path, PREFIXES) == kind
