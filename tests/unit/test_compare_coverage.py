"""Coverage: right layers and tensors pass, and each kind of gap is named."""

from dataclasses import replace

import pytest

from mm_lora.checks.compare_coverage import (
    adapter_mismatches,
    group_mismatches,
    left_out,
    left_rows,
    wrapped_rows,
)
from mm_lora.families import registry
from mm_lora.serving.probe_records import AdapterUse, Module, Unwrapped, Worker

LLAMA4 = registry.family("llama4")
LAYER = "vision_model.model.layers.0.self_attn"
QKV = Module(f"{LAYER}.qkv_proj", "QKV", "Q", "tower", "tower", (), 3)
QKV = replace(QKV, parts=tuple(f"{LAYER}.{name}_proj" for name in "qkv"))
OUT = Module(f"{LAYER}.o_proj", "Row", "R", "tower", "tower", (f"{LAYER}.o_proj",), 1)
OFFERED = [*QKV.parts, *OUT.parts, "language_model.lm_head"]
ATTENTION = LLAMA4.groups["tower-attention"]


def worker(*modules: Module, unwrapped: tuple[Unwrapped, ...] = ()) -> Worker:
    return Worker("probe-1", 0, 2, False, {}, modules, unwrapped, ())


def test_a_whole_group() -> None:
    assert group_mismatches(LLAMA4, ATTENTION, OFFERED, worker(QKV, OUT)) == []
    assert wrapped_rows(LLAMA4, "scout", ATTENTION, worker(QKV, OUT)) == [
        ["scout", "tower-attention", f"{LAYER.replace('.0.', '.*.')}.qkv_proj", 1, "tower", 3],
        ["scout", "tower-attention", f"{LAYER.replace('.0.', '.*.')}.o_proj", 1, "tower", 1],
    ]


@pytest.mark.parametrize(
    ("modules", "offered", "what"),
    [
        ((QKV,), OFFERED, "wrapped layer"),
        ((QKV, replace(OUT, held="connector")), OFFERED, "held wrapper"),
        ((QKV, replace(OUT, by_prefix=None)), OFFERED, "wrapper by prefix"),
        ((QKV, OUT), OFFERED[1:], "in transformers"),
        ((QKV, OUT), OFFERED[-1:], "modules offered"),
    ],
)
def test_gaps_of_a_group(modules: tuple[Module, ...], offered: list[str], what: str) -> None:
    assert what in {
        one.what for one in group_mismatches(LLAMA4, ATTENTION, offered, worker(*modules))
    }


TENSORS = [
    f"base_model.model.{part}.lora_{side}.weight"
    for part in (*QKV.parts, *OUT.parts)
    for side in "AB"
]
COVERAGE = [{"group": "tower-attention", "modules": 4, "tensors": 8}]
BOTH = ("lora_A", "lora_B")
USE = AdapterUse(
    "probe-1",
    1,
    "dice",
    0,
    dict.fromkeys((*QKV.parts, *OUT.parts), BOTH),
    {QKV.path: QKV.parts, OUT.path: OUT.parts},
)


def test_every_tensor_is_used_once() -> None:
    assert adapter_mismatches(LLAMA4, TENSORS, COVERAGE, USE) == []


@pytest.mark.parametrize(
    ("tensors", "coverage", "use", "what"),
    [
        (TENSORS, COVERAGE, replace(USE, used={QKV.path: QKV.parts}), "layers that use it"),
        (
            TENSORS,
            COVERAGE,
            replace(USE, used={**USE.used, "another": OUT.parts}),
            "layers that use it",
        ),
        (TENSORS[:-2], COVERAGE, USE, "tensors in the file"),
        (
            TENSORS,
            [{**COVERAGE[0], "modules": 5, "tensors": 10}],
            USE,
            "modules and tensors per group",
        ),
    ],
)
def test_gaps_of_an_adapter(tensors: list[str], coverage, use: AdapterUse, what: str) -> None:  # type: ignore[no-untyped-def]
    assert what in {one.what for one in adapter_mismatches(LLAMA4, tensors, coverage, use)}


def test_what_is_left_out_has_vllms_reason() -> None:
    named = worker(
        OUT,
        unwrapped=(
            Unwrapped(QKV.path, "QKVParallelLinear", "not among --lora-target-modules"),
            Unwrapped("language_model.lm_head", "ParallelLMHead", "no name"),
        ),
    )
    left = left_out(LLAMA4, [*OFFERED, "unknown.linear"], named)
    assert [one.reason for one in left] == [
        *["not among --lora-target-modules"] * 3,
        "no name",
        "",
    ]
    assert [one.group for one in left] == [*["tower-attention"] * 3, "", ""]
    assert left_rows("scout", left)[-1] == ["scout", "unknown.linear", 1, "none", ""]
