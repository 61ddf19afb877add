"""Random weights of a Gemma 4 miniature: bounds that bound nothing, and norms that keep attention
from being sharp."""

import pytest

from mm_lora.families.gemma4.torch_side import SIDE


def test_bounds_are_stored_as_bounds() -> None:
    layer = "model.vision_tower.encoder.layers.0.mlp.up_proj"
    low = SIDE.random_tensor(f"{layer}.input_min", (), 0)
    high = SIDE.random_tensor(f"{layer}.output_max", (), 0)
    assert (low.shape, float(low), float(high)) == ((), -12.0, 12.0)
    assert float(SIDE.random_tensor("model.language_model.layers.0.layer_scalar", (1,), 0)) == 1.0


def test_norms_hold_what_attention_does_not_divide_by() -> None:
    attention = "model.language_model.layers.0.self_attn"
    queries, keys = (SIDE.random_tensor(f"{attention}.{n}_norm.weight", (64,), 0) for n in "qk")
    # Queries and keys of length √64 each: 64 · q · k of one direction.
    assert float(queries[0] * keys[0]) * 64 == pytest.approx(2 * 64**0.5)
    tower = "model.vision_tower.encoder.layers.0.self_attn.q_norm.weight"
    assert float(SIDE.random_tensor(tower, (16,), 0)[0]) == 1.0
