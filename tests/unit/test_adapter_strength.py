"""The size of what layers hold, against the adapter's file: scale, ranks, 16 bits."""

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mm_lora.checks.held_norms import file_norms, mismatches
from mm_lora.serving.probe_records import AdapterUse

PATH = "vision_model.model.layers.0.self_attn.q_proj"
LAYER = "vision_model.model.layers.0.self_attn.qkv_proj"
A, B = np.full((2, 3), 0.5, "<f4"), np.full((4, 2), -2.0, "<f4")
NORM_A, NORM_B = math.sqrt(6 * 0.25), math.sqrt(8 * 4.0)


def adapter(folder: Path, kind: str = "F32", **config: Any) -> Path:
    """A PEFT folder with one module, written by hand: numpy has no bfloat16."""
    header, data = {}, b""
    for side, values in (("lora_A", A), ("lora_B", B)):
        if kind == "BF16":  # its upper half, for these values exactly
            raw = (values.view(np.uint32) >> 16).astype("<u2").tobytes()
        else:
            raw = values.astype({"F32": "<f4", "F16": "<f2"}[kind]).tobytes()
        key = f"base_model.model.{PATH}.{side}.weight"
        offsets = [len(data), len(data) + len(raw)]
        header[key] = {"dtype": kind, "shape": list(values.shape), "data_offsets": offsets}
        data += raw
    text = json.dumps(header).encode()
    whole = len(text).to_bytes(8, "little") + text + data
    (folder / "adapter_model.safetensors").write_bytes(whole)
    settings = {"r": 2, "lora_alpha": 6, **config}
    (folder / "adapter_config.json").write_text(json.dumps(settings))
    return folder


def use(a: float, b: float, worker: str = "w0") -> AdapterUse:
    return AdapterUse(
        worker=worker,
        seq=1,
        adapter="x",
        slot=0,
        kept={},
        used={LAYER: (PATH, None)},
        held={LAYER: ((a * a, b * b), (0.0, 0.0))},
    )


@pytest.mark.parametrize("kind", ["F32", "F16", "BF16"])
def test_the_scale_belongs_to_b(tmp_path: Path, kind: str) -> None:
    norms = file_norms(adapter(tmp_path, kind))
    assert norms == pytest.approx({(PATH, "lora_A"): NORM_A, (PATH, "lora_B"): 3 * NORM_B})


def test_peft_own_scales_are_known(tmp_path: Path) -> None:
    norms = file_norms(adapter(tmp_path, use_rslora=True, alpha_pattern={"q_proj": 8}))
    assert norms[PATH, "lora_B"] == pytest.approx(8 / math.sqrt(2) * NORM_B)


def test_right_sizes_pass_on_one_rank_and_on_two(tmp_path: Path) -> None:
    norms = file_norms(adapter(tmp_path))
    a, b = norms[PATH, "lora_A"], norms[PATH, "lora_B"]
    half = math.sqrt(0.5)
    assert mismatches(norms, [use(a, b)]) == []
    assert mismatches(norms, [use(a, b * half), use(a, b * half, "w1")]) == []  # B in two parts
    assert mismatches(norms, [use(a * 1.002, b * 0.998)]) == []  # rounded


def test_one_tensor_fills_all_slices_of_a_layer(tmp_path: Path) -> None:
    norms = file_norms(adapter(tmp_path))
    a, b = norms[PATH, "lora_A"], norms[PATH, "lora_B"]
    thirds = tuple((a * a, b * b / 3) for _ in range(3))
    one = replace(use(a, b), used={LAYER: (PATH,)}, held={LAYER: thirds})
    assert mismatches(norms, [one]) == []
    assert len(mismatches(norms, [replace(one, held={LAYER: thirds[:2]})])) == 1


@pytest.mark.parametrize("factor", [0.0, 0.5, 0.75, 1.05, 1.25])
def test_another_scale_is_named(tmp_path: Path, factor: float) -> None:
    norms = file_norms(adapter(tmp_path))
    a, b = norms[PATH, "lora_A"], norms[PATH, "lora_B"]
    (wrong,) = mismatches(norms, [use(a, factor * b)])
    assert PATH in wrong
    assert "lora_B" in wrong
    assert len(mismatches(norms, [use(a, factor * b), use(a, factor * b, "w1")])) == 1


def test_what_no_layer_holds_is_named(tmp_path: Path) -> None:
    norms = file_norms(adapter(tmp_path))
    assert len(mismatches(norms, [])) == 2
