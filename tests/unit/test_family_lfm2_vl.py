"""LFM2-VL: scaling, tiles and thumbnail, names, the fixes of its class and its miscounts."""

import dataclasses
import json
import math
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
from family_paths import require_path
from hypothesis import given
from hypothesis import strategies as st

from mm_lora.core.asking import Picture
from mm_lora.core.errors import UsageError
from mm_lora.families import registry
from mm_lora.families.lfm2_vl.family import HEADS_AS_TOKENS
from mm_lora.families.lfm2_vl.layout import Layout
from mm_lora.families.lfm2_vl.rope import steps
from mm_lora.families.lfm2_vl.torch_side import SIDE
from mm_lora.families.models import resolve
from mm_lora.inside.families import lfm2_vl as patches
from mm_lora.inside.fixes import rope_heads

FAMILY: Any = registry.family("lfm2-vl")
LAYOUTS: dict[str, Layout] = {name: resolve(name).layout for name in FAMILY.published}
CLASS = "Lfm2VLForConditionalGeneration"
sides = st.integers(1, 12_000)


def flow(width: int, height: int, model: str = "lfm2-vl") -> Any:
    return FAMILY.flow(LAYOUTS[model], Picture(width=width, height=height))


@pytest.mark.parametrize(
    ("model", "size", "tiling", "tokens", "prompt"),
    [
        # By transformers 5.19.
        ("lfm2-vl", (336, 336), (1, 1), 100, 102),
        ("lfm2-vl", (384, 256), (1, 1), 96, 98),
        ("lfm2-vl", (1100, 550), (1, 2), 754, 759),
        ("lfm2-vl", (1000, 3000), (3, 1), 1011, 1017),
        ("lfm2-vl", (5120, 512), (1, 10), 2810, 2823),
        ("lfm2-vl-450m", (1100, 550), (1, 2), 512, 516),
        ("lfm2-vl-450m", (336, 336), (1, 1), 100, 102),
    ],
)
def test_known_pictures(
    model: str, size: tuple[int, int], tiling: tuple[int, int], tokens: int, prompt: int
) -> None:
    found = flow(*size, model)
    assert (found.details["tile_rows"], found.details["tile_columns"]) == tiling
    assert found.rows == {"encoder": 4 * tokens, "connector": tokens}
    assert (found.tokens, found.prompt_tokens) == (tokens, prompt)


@pytest.mark.parametrize("known", FAMILY.known_flows)
def test_what_others_state(known: Any) -> None:
    assert flow(known.width, known.height).as_json()[known.quantity] == known.value


@given(sides, sides)
def test_any_picture(width: int, height: int) -> None:
    layout = LAYOUTS["lfm2-vl"]
    rows, columns = layout.tiling(width, height)
    assert rows * columns == 1 or 2 <= rows * columns <= 10
    high, wide = layout.whole(width, height)
    # A strip of one row may have more than the most; all else lies between.
    assert high * wide <= 256 or 1 in (high, wide)
    assert high * wide >= 64
    found, without = flow(width, height), flow(width, height, "lfm2-vl-450m")
    cut = rows * columns > 1
    assert found.tokens == 256 * rows * columns * cut + high * wide
    assert found.tokens - without.tokens == cut * high * wide
    assert found.units - without.units == found.prompt_tokens - found.tokens - (
        without.prompt_tokens - without.tokens
    )
    turned = layout.whole(height, width)
    assert turned == (wide, high)


def test_a_processor_that_never_cuts(tmp_path: Path) -> None:
    files = FAMILY.side_files(LAYOUTS["lfm2-vl"])
    settings = files["preprocessor_config.json"]
    config = FAMILY.miniature(resolve("lfm2-vl").config, LAYOUTS["lfm2-vl"])
    file = tmp_path / "preprocessor_config.json"
    file.write_text(json.dumps(settings), encoding="utf-8")
    assert FAMILY.layout(config, tmp_path) == LAYOUTS["lfm2-vl"]
    file.write_text(json.dumps(settings | {"do_image_splitting": False}), encoding="utf-8")
    layout = FAMILY.layout(config, tmp_path)
    assert layout.tiling(5000, 3001) == (1, 1)
    file.write_text(json.dumps(settings | {"encoder_patch_size": 32}), encoding="utf-8")
    with pytest.raises(UsageError, match="patches of 32"):
        FAMILY.layout(config, tmp_path)


@pytest.mark.parametrize(
    "wrong",
    [
        {"tile_size": 500},
        {"max_tiles": 1},
        {"min_image_tokens": 257},
        {"downsample_factor": 0},
        {"max_tiles": True},
    ],
)
def test_impossible_layouts(wrong: dict[str, Any]) -> None:
    with pytest.raises(UsageError):
        Layout(**{**dataclasses.asdict(LAYOUTS["lfm2-vl"]), **wrong})


def test_the_miniature_has_both_kinds_of_layer() -> None:
    for name, layout in LAYOUTS.items():
        model = resolve(name)
        small = FAMILY.miniature(model.config, layout)
        text, vision = small["text_config"], small["vision_config"]
        assert set(text["layer_types"]) == {"conv", "full_attention"}
        assert len(text["layer_types"]) == text["num_hidden_layers"]
        kept = ("patch_size", "num_patches", "hidden_act", "vision_use_head")
        published = model.config["vision_config"]
        assert {key: vision[key] for key in kept} == {key: published[key] for key in kept}


def test_what_is_asked() -> None:
    questions = FAMILY.questions(LAYOUTS["lfm2-vl"])
    asked = {prompt[0].seen_size for prompt in questions if len(prompt) == 1}
    assert len(asked) >= 14
    assert {1, 3, 11} <= {flow(*size).units for size in asked}
    assert max(map(len, questions)) == FAMILY.limits["image"]


@pytest.mark.parametrize(
    ("path", "group", "layer"),
    [
        (
            "model.vision_tower.embeddings.patch_embedding",
            "patch-embedding",
            "vision_tower.vision_model.embeddings.patch_embedding",
        ),
        (
            "model.vision_tower.encoder.layers.1.self_attn.k_proj",
            "tower-attention",
            "vision_tower.vision_model.encoder.layers.1.self_attn.qkv_proj",
        ),
        (
            "model.language_model.layers.0.conv.in_proj",
            "language-conv",
            "language_model.model.layers.0.short_conv.in_proj",
        ),
        (
            "model.language_model.layers.1.self_attn.out_proj",
            "language-model",
            "language_model.model.layers.1.self_attn.out_proj",
        ),
        (
            "model.language_model.layers.1.feed_forward.w3",
            "language-mlp",
            "language_model.model.layers.1.feed_forward.w13",
        ),
    ],
)
def test_groups_and_names(path: str, group: str, layer: str) -> None:
    require_path(FAMILY, path, group, layer)


def test_what_takes_no_adapter() -> None:
    assert FAMILY.group_of("model.language_model.layers.0.conv.conv") is None
    assert FAMILY.group_of("model.vision_tower.embeddings.position_embedding") is None
    assert FAMILY.group_of("lm_head") is None


def test_names_in_files_and_the_convolutions_width() -> None:
    own = "model.vision_tower.embeddings.patch_embedding.weight"
    assert SIDE.saved_names(own) == own.replace("tower.", "tower.vision_model.")
    assert SIDE.fan_in("model.language_model.layers.0.conv.conv.weight", (128, 1, 3)) == 3
    assert SIDE.fan_in("model.language_model.layers.0.conv.in_proj.weight", (384, 128)) == 128


def patched(patch_id: str) -> Any:
    """A stand-in for the class in vLLM."""

    @dataclasses.dataclass
    class Mapper:
        orig_to_new_prefix: dict[str, str]
        orig_to_new_substr: dict[str, str]

    class Owner:
        hf_to_vllm_mapper = Mapper({"model.vision_tower.": "vision_tower."}, {})
        config = SimpleNamespace(downsample_factor=2)

        def load_weights(self, weights: list[str]) -> list[str]:
            assert not self.hf_to_vllm_mapper.orig_to_new_substr
            return weights

        def get_mm_lora_token_counts(self, *, num_mm_embeds: int) -> tuple[int, int]:
            return 4 * num_mm_embeds, num_mm_embeds

    (patch,) = (one for one in patches.PATCHES if one.id == patch_id)
    module = ModuleType("lfm2_vl")
    setattr(module, CLASS, Owner)
    patch.apply(module)
    return getattr(module, CLASS)()


def test_the_names_that_the_fixes_know() -> None:
    model = patched("lfm2-vl-conv-names")
    assert model.load_weights(["w"]) == ["w"]
    assert model.hf_to_vllm_mapper.orig_to_new_substr == {".conv.": ".short_conv."}
    assert type(model).hf_to_vllm_mapper.orig_to_new_substr == {}
    assert list(patched("lfm2-vl-tower-names").hf_to_vllm_mapper.orig_to_new_prefix) == [
        "model.vision_tower.embeddings.",
        "model.vision_tower.encoder.",
        "model.vision_tower.",
    ]


@pytest.mark.parametrize(
    ("name", "rows"), [("not-squared", (200, 100)), ("not-unshuffled", (400, 400))]
)
def test_miscounts(name: str, rows: tuple[int, int]) -> None:
    model = patched(f"mutant-lfm2-vl-{name}")
    assert model.get_mm_lora_token_counts(num_mm_embeds=100) == rows


def test_the_largest_picture_that_the_fix_makes_room_for() -> None:
    @dataclasses.dataclass
    class Size:
        width: int
        height: int

    class Info:
        tiles = 10

        def get_image_processor(self) -> Any:
            return SimpleNamespace(max_tiles=self.tiles, tile_size=512)

        def get_image_size_with_most_features(self) -> Size:
            return Size(512, 512)

    (patch,) = (one for one in patches.PATCHES if one.id == "lfm2-vl-most-tiles")
    module = ModuleType("lfm2_vl")
    module.Lfm2VLProcessingInfo = Info  # type: ignore[attr-defined]
    patch.apply(module)
    size = Info().get_image_size_with_most_features()
    layout = LAYOUTS["lfm2-vl"]
    most = max(flow(*one).tokens for one in ((5120, 512), (2560, 1024), (1536, 1536), (512, 5120)))
    assert flow(size.width, size.height).tokens == most > 10 * layout.tile_tokens
    Info.tiles = 1
    assert Info().get_image_size_with_most_features() == Size(512, 512)


@pytest.mark.parametrize(
    ("prompt", "length", "cuts"),
    [
        (3, 3, [(0, 3)]),
        (3, 5, [(0, 3), (3, 4), (4, 5)]),
        (128, 129, [(0, 128), (128, 129)]),
        (129, 130, [(0, 128), (128, 129), (129, 130)]),
        (300, 301, [(0, 256), (256, 300), (300, 301)]),
    ],
)
def test_the_steps_that_read_a_prompt(
    prompt: int, length: int, cuts: list[tuple[int, int]]
) -> None:
    assert steps(prompt, length) == cuts


def test_a_convolution_that_is_read_and_never_called() -> None:
    assert FAMILY.is_idle("language_model.model.layers.0.short_conv.conv")
    assert not FAMILY.is_idle("language_model.model.layers.0.short_conv.in_proj")
    assert not registry.family("llama4").is_idle("language_model.model.layers.0.short_conv.conv")


def test_what_the_base_gets_wrong_about_a_text_too() -> None:
    assert (
        FAMILY.base_predicted(media=False)
        == FAMILY.base_predicted(media=True)
        == (HEADS_AS_TOKENS,)
    )
    other = registry.family("paligemma")
    assert other.base_predicted(media=True)
    assert other.base_predicted(media=False) == ()


class Heads:
    """[tokens, heads, size] as nested lists would be, of which the operator sees the last."""

    def __init__(self, *shape: int) -> None:
        self.shape = shape

    def dim(self) -> int:
        return len(self.shape)

    def flatten(self, start: int) -> "Heads":
        return Heads(*self.shape[:start], math.prod(self.shape[start:]))

    def view_as(self, other: "Heads") -> "Heads":
        assert math.prod(self.shape) == math.prod(other.shape)
        return Heads(*other.shape)


def test_the_fix_gives_the_operator_all_heads_of_a_token() -> None:
    seen = []

    class RotaryEmbedding:
        def forward_cpu(self, positions: Any, query: Heads, key: Heads | None = None) -> Any:
            seen.append((query.shape, key and key.shape))
            return query, key

    module = ModuleType("base")
    module.RotaryEmbedding = RotaryEmbedding  # type: ignore[attr-defined]
    rope_heads.PATCH.apply(module)
    turn = RotaryEmbedding().forward_cpu
    query, key = turn(None, Heads(5, 4, 32), Heads(5, 2, 32))
    assert (query.shape, key.shape) == ((5, 4, 32), (5, 2, 32))
    query, key = turn(None, Heads(5, 4, 32))
    assert (query.shape, key) == ((5, 4, 32), None)
    turn(None, Heads(5, 128), Heads(5, 64))
    assert seen == [((5, 128), (5, 64)), ((5, 128), None), ((5, 128), (5, 64))]
