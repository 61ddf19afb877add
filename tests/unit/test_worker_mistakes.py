"""Predictors of wrong values: each known mistake alone, and all that an adapter meets at once."""

import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from mm_lora.families.llama4.torch_side import SIDE
from mm_lora.truth.worker.mistakes import GENERAL, wrong

MISTAKES = (*SIDE.mistakes, *GENERAL)
SHARED = "language_model.model.layers.0.feed_forward.shared_expert.down_proj"
FC1 = "vision_model.model.layers.0.mlp.fc1"
O_PROJ = "language_model.model.layers.0.self_attn.o_proj"
MODEL = SimpleNamespace(config=SimpleNamespace(text_config=SimpleNamespace(
    num_attention_heads=4, num_key_value_heads=2)))  # fmt: skip


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    config = {"r": 8, "lora_alpha": 16, "rank_pattern": {"fc1": 4}}
    (tmp_path / "adapter_config.json").write_text(json.dumps(config))
    return tmp_path


def test_only_mistakes_that_the_adapter_can_meet_are_predicted(folder: Path) -> None:
    deltas = {SHARED: np.ones(2), O_PROJ: np.ones(2)}
    found = dict(wrong(SIDE, [*MISTAKES, "some other signature"], MODEL, folder, deltas))
    assert list(found) == [("shared-expert-without-adapter",)]
    assert list(found[("shared-expert-without-adapter",)]) == [O_PROJ]


def test_several_at_once_are_predicted_together(folder: Path) -> None:
    found = dict(wrong(SIDE, MISTAKES, MODEL, folder, {SHARED: np.ones(2), FC1: np.ones(2)}))
    names = ("shared-expert-without-adapter", "rank-pattern-ignored")
    assert set(found) == {names[:1], names[1:], names}
    assert found[names[1:]][FC1].tolist() == [0.5, 0.5], "by r = 8 instead of 4"
    assert list(found[names]) == [FC1]


def test_names_that_nobody_asked_for_are_not_computed(folder: Path) -> None:
    assert not list(wrong(SIDE, [], MODEL, folder, {SHARED: np.ones(2)}))
