"""Pixtral in Mistral's format: arithmetic, params, names in files and in vLLM, its patches."""

import base64
import dataclasses
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mm_lora.checks.mismatch import Mismatch
from mm_lora.core.asking import Picture
from mm_lora.core.errors import UsageError
from mm_lora.families import registry
from mm_lora.families.family import Family
from mm_lora.families.mistral_small.family import MERGER_IGNORED
from mm_lora.families.mistral_small.torch_side import SIDE as MERGING_SIDE
from mm_lora.families.models import resolve
from mm_lora.families.pixtral.layout import TEKKEN, Layout
from mm_lora.families.pixtral.torch_side import SIDE
from mm_lora.families.vocabulary import WORDS, vocabulary
from mm_lora.inside.families import pixtral as hooks
from mm_lora.truth.build import processor_files

PIXTRAL, SMALL = (registry.family(name) for name in ("pixtral", "mistral-small"))
MODELS = {name: resolve(name) for name in (*PIXTRAL.published, *SMALL.published)}
LAYOUTS: dict[str, Layout] = {name: model.layout for name, model in MODELS.items()}
sides = st.integers(1, 12_000)
each_family = pytest.mark.parametrize("family", [PIXTRAL, SMALL], ids=lambda one: one.name)
each_model = pytest.mark.parametrize("name", MODELS)


@given(st.sampled_from(list(LAYOUTS.values())), sides, sides)
def test_any_picture(layout: Layout, width: int, height: int) -> None:
    rows, columns = layout.grid(width, height)
    unit = layout.patch_size * layout.merge
    assert 1 <= max(rows, columns) <= -(-layout.largest // unit)
    assert layout.grid(height, width) == (columns, rows)
    assert layout.patches((rows, columns)) == rows * columns * layout.merge**2
    flow = PIXTRAL.flow(layout, Picture(width=width, height=height))
    assert flow.tokens == flow.rows["connector"] == rows * columns
    assert flow.prompt_tokens == rows * (columns + 1)
    if max(width, height) <= layout.largest:
        assert (rows - 1) * unit < height <= rows * unit
        assert (columns - 1) * unit < width <= columns * unit


@given(st.sampled_from(list(LAYOUTS.values())), sides, sides, st.integers(2, 5))
def test_a_large_picture_keeps_its_shape(layout: Layout, width: int, height: int, k: int) -> None:
    longest = max(width, height)
    grid = layout.grid(k * width * layout.largest, k * height * layout.largest)
    exact = [side * layout.largest / longest for side in (height, width)]
    unit = layout.patch_size * layout.merge
    assert all(abs(n - max(e, 1) / unit) < 1 + 1 / unit for n, e in zip(grid, exact, strict=True))


@pytest.mark.parametrize("known", [*PIXTRAL.known_flows, *SMALL.known_flows])
def test_what_others_state(known: Any) -> None:
    flow = PIXTRAL.flow(LAYOUTS[known.model], Picture(width=known.width, height=known.height))
    assert flow.as_json()[known.quantity] == known.value


@pytest.mark.parametrize(
    "wrong", [{"largest": 0}, {"patch_size": True}, {"merge": 0}, {"largest": 27}]
)
def test_impossible_layouts(wrong: dict[str, Any]) -> None:
    with pytest.raises(UsageError):
        Layout(**{"largest": 1540, "patch_size": 14, "merge": 2, **wrong})


@pytest.mark.parametrize(
    ("vision", "reason"),
    [
        ({"mm_projector_id": ""}, "mm_projector_id"),
        ({"add_pre_mm_projector_layer_norm": False}, "norm"),
        ({"max_image_size": 1541}, "positions for 1540"),
    ],
)
def test_params_that_contradict_themselves(vision: dict[str, Any], reason: str) -> None:
    config = MODELS["mistral-small-3.1"].config
    params = config["params"]
    changed = {**params, "vision_encoder": {**params["vision_encoder"], **vision}}
    with pytest.raises(UsageError, match=reason):
        SMALL.layout({**config, "params": changed}, None)
    for broken in ({}, {"params": {}}, {"params": 3}):
        with pytest.raises(UsageError, match="vision_encoder"):
            SMALL.layout(broken, None)


@pytest.mark.parametrize("key", ["max_image_size", "image_patch_size", "spatial_merge_size"])
def test_tekken_must_say_the_same(tmp_path: Path, key: str) -> None:
    model = MODELS["mistral-small-3.1"]
    content = json.loads(json.dumps(SMALL.side_files(model.layout)[TEKKEN]))
    (tmp_path / TEKKEN).write_text(json.dumps(content), encoding="utf-8")
    assert SMALL.layout(model.config, tmp_path) == model.layout
    content["image"][key] += 1
    (tmp_path / TEKKEN).write_text(json.dumps(content), encoding="utf-8")
    with pytest.raises(UsageError, match=key):
        SMALL.layout(model.config, tmp_path)


@each_model
def test_the_miniature_is_in_mistrals_format(name: str) -> None:
    model = MODELS[name]
    files = processor_files(model)
    params = files["files"]["params.json"]
    assert params == files["config"]["params"]
    assert files["files"]["tokenizer.json"] is None
    published = model.config["params"]["vision_encoder"]
    kept = ("image_size", "patch_size", "mm_projector_id", "spatial_merge_size", "adapter_bias")
    assert {key: params["vision_encoder"].get(key) for key in kept} == {
        key: published.get(key) for key in kept
    }
    # A key that vLLM's VisionEncoderArgs needs.
    assert params["vision_encoder"]["image_token_id"] == 10
    assert params["vocab_size"] == files["files"][TEKKEN]["config"]["default_vocab_size"]


@each_model
def test_tekken_has_the_words_behind_the_special_tokens(name: str) -> None:
    content = MODELS[name].family.side_files(LAYOUTS[name])[TEKKEN]
    tokens = [base64.b64decode(one["token_bytes"]) for one in content["vocab"]]
    assert tokens[:256] == [bytes([one]) for one in range(256)]
    assert len(set(tokens)) == len(tokens) == len(vocabulary(()))
    shift = content["config"]["default_num_special_tokens"]
    assert {tokens[one - shift].decode() for one in SIDE.answers()} == {f" {w}" for w in WORDS}
    special = MODELS[name].family.special_tokens
    ids = [special.index(token) for token in ("<s>", "[IMG]", "[IMG_BREAK]", "[IMG_END]")]
    assert ids == [1, 10, 12, 13]


@each_family
def test_at_least_14_sizes_and_several_pictures_are_asked(family: Family) -> None:
    questions = family.questions(MODELS[family.published[0]].layout)
    assert len({prompt[0].seen_size for prompt in questions if len(prompt) == 1}) >= 14
    assert max(map(len, questions)) == family.limits["image"]


@pytest.mark.parametrize(
    ("path", "layer"),
    [
        (
            "model.vision_tower.transformer.layers.23.attention.k_proj",
            "vision_encoder.transformer.layers.23.attention.qkv_proj",
        ),
        (
            "model.vision_tower.transformer.layers.0.feed_forward.up_proj",
            "vision_encoder.transformer.layers.0.feed_forward.gate_up_proj",
        ),
        ("model.multi_modal_projector.linear_1", "vision_language_adapter.w_in"),
        ("model.multi_modal_projector.linear_2", "vision_language_adapter.w_out"),
        (
            "model.multi_modal_projector.patch_merger.merging_layer",
            "patch_merger.merging_layer",
        ),
        (
            "model.language_model.layers.3.mlp.down_proj",
            "language_model.model.layers.3.mlp.down_proj",
        ),
    ],
)
def test_names_in_vllm(path: str, layer: str) -> None:
    assert SMALL.layer_of(path) == layer
    assert SMALL.from_vllm(SMALL.to_vllm(path)) == path
    assert SMALL.group_of(path) is not None


@pytest.mark.parametrize(
    ("own", "stored"),
    [
        ("lm_head.weight", "output.weight"),
        ("model.language_model.embed_tokens.weight", "tok_embeddings.weight"),
        ("model.language_model.norm.weight", "norm.weight"),
        (
            "model.language_model.layers.0.self_attn.k_proj.weight",
            "layers.0.attention.wk.weight",
        ),
        ("model.language_model.layers.0.mlp.down_proj.weight", "layers.0.feed_forward.w2.weight"),
        (
            "model.language_model.layers.1.post_attention_layernorm.weight",
            "layers.1.ffn_norm.weight",
        ),
        ("model.vision_tower.patch_conv.weight", "vision_encoder.patch_conv.weight"),
        (
            "model.vision_tower.transformer.layers.0.attention.o_proj.weight",
            "vision_encoder.transformer.layers.0.attention.wo.weight",
        ),
        (
            "model.vision_tower.transformer.layers.0.feed_forward.up_proj.weight",
            "vision_encoder.transformer.layers.0.feed_forward.w3.weight",
        ),
        ("model.multi_modal_projector.linear_2.bias", "vision_language_adapter.w_out.bias"),
        ("model.multi_modal_projector.norm.weight", "pre_mm_projector_norm.weight"),
        (
            "model.multi_modal_projector.patch_merger.merging_layer.weight",
            "patch_merger.merging_layer.weight",
        ),
    ],
)
def test_names_in_files(own: str, stored: str) -> None:
    assert SIDE.weight_names(own) == stored
    assert SIDE.saved_names(own) == own


@dataclasses.dataclass
class Mapped:
    """vLLM's MultiModelKeys."""

    connector: list[str]
    tower_model: list[str]


def test_the_fix_holds_the_merger() -> None:
    patch = next(one for one in hooks.PATCHES if one.id == "pixtral-patch-merger")
    found = patch.wraps[hooks.MAPPING](lambda self: Mapped(["vision_language_adapter."], []))(None)
    assert found.connector == ["vision_language_adapter.", "patch_merger."]


def test_seeded_miscounts() -> None:
    model = SimpleNamespace(vision_args=SimpleNamespace(spatial_merge_size=2))
    assert hooks.merge_not_squared(model, 1500, 375) == (750, 375)
    assert hooks.merge_forgotten(model, 1500, 375) == (375, 375)
    assert hooks.breaks_counted(model, 1500, 375) == (1524, 399)


@pytest.mark.parametrize("name", MODELS)
def test_what_the_hook_reads(name: str) -> None:
    config = SimpleNamespace(params=MODELS[name].config["params"])
    found = hooks.prepared(config)
    assert (found["patch_merger"] is not None) == (MODELS[name].family is SMALL)
    assert found["vision_args"].spatial_merge_size == LAYOUTS[name].merge


@pytest.mark.parametrize(
    ("where", "what", "predicted"),
    [
        ("model.multi_modal_projector.patch_merger.merging_layer", "layers that use it", True),
        ("model.multi_modal_projector.linear_1", "layers that use it", False),
        ("model.multi_modal_projector.patch_merger.merging_layer", "wrapped layer", False),
    ],
)
def test_what_the_predictor_explains(where: str, what: str, predicted: bool) -> None:
    found = [Mismatch(where=where, what=what, expected="1", observed="none")]
    assert SMALL.predicted_coverage(found) == ((MERGER_IGNORED,) if predicted else ())
    assert SMALL.predicted_coverage([]) == ()


def test_every_predictor_is_computed() -> None:
    for side in (SIDE, MERGING_SIDE):
        assert set(side.mistakes) == set(side.family.predictors)
