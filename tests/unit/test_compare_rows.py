"""Rows inside the server: right ones pass, and each seeded mistake is named."""

from dataclasses import replace

import pytest

from mm_lora.checks.compare_rows import (
    Sent,
    joined,
    shown,
    step_mismatches,
    wrapper_mismatches,
    wrong_rows,
)
from mm_lora.core.asking import Picture
from mm_lora.core.outcomes import Runs
from mm_lora.families import registry
from mm_lora.families.llama4.geometry import Geometry
from mm_lora.serving.probe_records import Call, Mapped, Module, Request, Step, Worker

LLAMA4 = registry.family("llama4")
SCOUT = Geometry(336, 14, 0.5)
WIDE = LLAMA4.flow(SCOUT, Picture(width=700, height=400))
TILE = LLAMA4.flow(SCOUT, Picture(width=336, height=336))
QKV = "vision_model.model.layers.0.self_attn.qkv_proj"
ADAPTER = "vision_model.vision_adapter.mlp.fc1"
PROJECTOR = "multi_modal_projector.linear_1"
TEXT = "language_model.model.layers.0.self_attn.qkv_proj"
PATCHES = "vision_model.patch_embedding.linear"
SENT = {"one": Sent("dice", (WIDE,)), "two": Sent(None, (TILE, TILE))}
REQUESTS = (
    Request("chatcmpl-one-8fbe", "dice", 1045, (0,)),
    Request("chatcmpl-two", None, 300, (0, 1)),
)
TOWER_RUNS: Runs = (("dice", 4039), (None, 1154))
CONNECTOR_RUNS: Runs = (("dice", 1008), (None, 288))


def module(path: str) -> Module:
    role = LLAMA4.role_of_path(path)
    parent, _, name = path.rpartition(".")
    parts = [f"{parent}.{part}_proj" for part in "qkv"] if name == "qkv_proj" else [path]
    return Module(path, "WithLoRA", "Linear", role, role, tuple(parts), len(parts))


def worker(*extra: str) -> Worker:
    modules = tuple(module(path) for path in (QKV, ADAPTER, PROJECTOR, TEXT, *extra))
    return Worker("probe-1", 0, 2, False, {}, modules, (), ())


def call(path: str, runs: Runs, seen: int | None = None) -> Call:
    rows = sum(n for _, n in runs)
    mapped = Mapped(LLAMA4.role_of_path(path) or "", rows, runs)
    return Call(rows if seen is None else seen, mapped, (path,))


def encoder(*calls: Call) -> Step:
    given = calls or (call(QKV, TOWER_RUNS), call(ADAPTER, CONNECTOR_RUNS))
    paths = {path for one in given for path in one.paths}
    rest = () if PROJECTOR in paths else (call(PROJECTOR, CONNECTOR_RUNS),)
    return Step("probe-1", 1, 1, "encoder", REQUESTS, (*given, *rest))


def test_right_rows_have_no_mismatch() -> None:
    assert step_mismatches(LLAMA4, worker(), encoder(), SENT) == []
    language = Step(
        "probe-1", 2, 1, "language", REQUESTS, (call(TEXT, (("dice", 1045), (None, 300))),)
    )
    assert step_mismatches(LLAMA4, worker(), language, SENT) == []
    assert wrapper_mismatches(LLAMA4, worker()) == []


@pytest.mark.parametrize(
    ("step", "what"),
    [
        # The class token forgotten: 4032 + 1152 rows mapped, 4039 + 1154 seen.
        (
            encoder(
                call(QKV, (("dice", 4032), (None, 1152)), seen=5193), call(ADAPTER, CONNECTOR_RUNS)
            ),
            "rows mapped",
        ),
        # Ratio instead of its square.
        (
            encoder(call(QKV, TOWER_RUNS), call(ADAPTER, (("dice", 2016), (None, 576)), seen=1296)),
            "rows mapped",
        ),
        # The vision adapter under the tower's wrapper.
        (
            encoder(
                call(QKV, TOWER_RUNS),
                Call(1296, Mapped("tower", 5193, TOWER_RUNS), (ADAPTER,)),
            ),
            "wrapper",
        ),
        # One chunk lost.
        (
            encoder(
                call(QKV, (("dice", 3462), (None, 1154)), seen=5193), call(ADAPTER, CONNECTOR_RUNS)
            ),
            "rows mapped",
        ),
        # Right total, shifted by one row: only the adapter of each row tells.
        (
            encoder(call(QKV, (("dice", 4040), (None, 1153))), call(ADAPTER, CONNECTOR_RUNS)),
            "adapter of each row",
        ),
        (
            encoder(call(QKV, (("other", 4039), (None, 1154))), call(ADAPTER, CONNECTOR_RUNS)),
            "adapter of each row",
        ),
        (
            encoder(Call(5193, None, (QKV,)), call(ADAPTER, CONNECTOR_RUNS)),
            "rows mapped",
        ),
        (encoder(call(QKV, TOWER_RUNS)), "calls"),
        (
            encoder(call(QKV, TOWER_RUNS), call(QKV, TOWER_RUNS), call(ADAPTER, CONNECTOR_RUNS)),
            "calls",
        ),
        (replace(encoder(), raised="RuntimeError: einsum"), "the pass"),
    ],
)
def test_seeded_mistakes_are_named(step: Step, what: str) -> None:
    assert what in {found.what for found in step_mismatches(LLAMA4, worker(), step, SENT)}


def test_the_patch_embedding_sees_patches_without_the_class_token() -> None:
    wrong = call(PATCHES, TOWER_RUNS, seen=4032 + 1152)
    right = call(PATCHES, (("dice", 4032), (None, 1152)))
    rest = (call(QKV, TOWER_RUNS), call(ADAPTER, CONNECTOR_RUNS))
    assert step_mismatches(LLAMA4, worker(PATCHES), encoder(right, *rest), SENT) == []
    found = step_mismatches(LLAMA4, worker(PATCHES), encoder(wrong, *rest), SENT)
    assert [one.what for one in found] == ["rows mapped", "adapter of each row"]


def test_the_logits_see_only_sampled_rows_and_are_left_out() -> None:
    head = "language_model.lm_head"
    text = call(TEXT, (("dice", 1045), (None, 300)))
    step = Step("probe-1", 2, 1, "language", REQUESTS, (text, replace(text, rows=2, paths=(head,))))
    assert step_mismatches(LLAMA4, worker(head), step, SENT) == []


def test_an_adapter_under_the_tower_is_seen_without_any_request() -> None:
    wrong = replace(module(ADAPTER), held="tower", by_prefix="tower")
    found = wrapper_mismatches(LLAMA4, replace(worker(), modules=(module(QKV), wrong)))
    assert [one.expected for one in found] == ["connector", "connector"]


@pytest.mark.parametrize(
    "sent",
    [{}, {"one": SENT["one"]}, {**SENT, "two": Sent("dice", (TILE, TILE))}],
)
def test_unknown_requests_are_told(sent: dict[str, Sent]) -> None:
    (found,) = step_mismatches(LLAMA4, worker(), encoder(), sent)
    assert found.what == "request"


def test_request_ids() -> None:
    assert Request("chatcmpl-one-8f", None, 1, ()).is_for("one")
    assert Request("chatcmpl-one", None, 1, ()).is_for("one")
    assert Request("chatcmpl-one-8f", None, 1, ()).is_for("chatcmpl-one")
    assert not Request("chatcmpl-one2-8f", None, 1, ()).is_for("one")
    assert not Request("chatcmpl-one2-8f", None, 1, ()).is_for("chatcmpl-one")


def test_joined_and_shown() -> None:
    runs = joined([("a", 1), ("a", 2), (None, 3), (None, 0), ("a", 1)])
    assert runs == (("a", 3), (None, 3), ("a", 1))
    assert shown(runs) == "a ×3, base ×3, a ×1"
    assert shown(()) == "none"


def test_wrong_rows_are_told_once_with_all_their_layers() -> None:
    shifted = (("dice", 4040), (None, 1153))
    both = Mapped("tower", 5193, shifted)
    found = step_mismatches(LLAMA4, worker(), encoder(Call(5193, both, (QKV,))), SENT)
    same = [replace(one, where="step 1 encoder other") for one in found if one.rows]
    again = [replace(one, rows=replace(one.rows, layers=("other",))) for one in same if one.rows]
    (rows,) = [one for one in wrong_rows([*found, *again]) if QKV in one.layers]
    assert (rows.step, rows.seen) == ("step 1 encoder", 5193)
    assert rows.layers == (QKV, "other")
    assert (rows.expected, rows.mapped) == (TOWER_RUNS, shifted)
