"""Qwen3-VL's arithmetic, groups, paths, miniature and seeded mistakes."""

from dataclasses import asdict
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mm_lora.core.asking import Picture, Video
from mm_lora.core.errors import UsageError
from mm_lora.families.models import resolve
from mm_lora.families.modules import CONNECTOR, TOWER
from mm_lora.families.qwen.geometry import video_grid
from mm_lora.families.qwen3_vl.family import FAMILY
from mm_lora.inside.families.qwen3_vl import mutants
from mm_lora.inside.fixes.data_encoder_rows import rows_of

PUBLISHED = resolve("qwen3-vl").layout
SIDE = st.integers(min_value=1, max_value=6000)


@given(width=SIDE, height=SIDE)
def test_rows_are_whole_tokens_between_the_two_areas(width: int, height: int) -> None:
    if max(width, height) > 200 * min(width, height):
        with pytest.raises(UsageError):
            FAMILY.flow(PUBLISHED, Picture(width=width, height=height))
        return
    flow = FAMILY.flow(PUBLISHED, Picture(width=width, height=height))
    assert flow.rows["patch"] == 4 * flow.rows["merged"] == 4 * flow.tokens
    assert flow.details["grid_height"] * flow.details["grid_width"] == flow.rows["patch"]
    assert PUBLISHED.min_pixels <= flow.tokens * PUBLISHED.square**2
    # A side of one token cannot shrink further.
    least_side = min(flow.details["grid_height"], flow.details["grid_width"])
    assert flow.tokens * PUBLISHED.square**2 <= PUBLISHED.max_pixels or least_side == 2


@given(width=SIDE, height=SIDE)
def test_a_turned_picture_has_as_many_rows(width: int, height: int) -> None:
    if max(width, height) <= 200 * min(width, height):
        one = FAMILY.flow(PUBLISHED, Picture(width=width, height=height))
        other = FAMILY.flow(PUBLISHED, Picture(width=height, height=width))
        assert one.rows == other.rows


@given(frames=st.integers(2, 64), width=SIDE, height=SIDE)
def test_the_limits_hold_for_all_frames_together(frames: int, width: int, height: int) -> None:
    if max(width, height) > 100 * min(width, height):
        return
    grid = video_grid(PUBLISHED, frames, width, height)
    assert grid.frames == (frames + 1) // 2
    area = grid.height * grid.width * PUBLISHED.patch**2
    # Rounding to whole groups is to the nearest, so that an odd number may be off by a frame.
    assert PUBLISHED.video_min_pixels <= (frames + 1) * area
    thin = 2 in (grid.height, grid.width)
    assert (frames - 1) * area <= PUBLISHED.video_max_pixels or thin


@pytest.mark.parametrize(
    ("frames", "size", "patches"),
    [
        (2, (112, 112), 64),
        (5, (320, 240), 3 * 320),  # 7.5 tokens high: the even number
        (4, (2508, 2508), 2 * 156 * 156),  # 4 frames reach the limit
        (8, (2508, 2508), 4 * 110 * 110),  # and twice as many share it
        (2, (16, 192), 48),  # narrower than a token: 32×384 first
    ],
)
def test_known_videos(frames: int, size: tuple[int, int], patches: int) -> None:
    assert video_grid(PUBLISHED, frames, *size).patches == patches


def test_each_group_of_frames_has_its_own_markers() -> None:
    flow = FAMILY.flow(PUBLISHED, Video(width=112, height=112, frames=5))
    assert (flow.tokens, flow.prompt_tokens) == (3 * 16, 3 * 16 + 2 * 3 + 2)


@pytest.mark.parametrize("frames", [0, 1])
def test_a_video_without_a_pair_of_frames_is_refused(frames: int) -> None:
    with pytest.raises(UsageError, match=f"a video of {frames} frames"):
        FAMILY.flow(PUBLISHED, Video(width=112, height=112, frames=frames))


@pytest.mark.parametrize(
    "known", FAMILY.known_flows, ids=lambda k: f"{k.width}x{k.height}-{k.quantity}"
)
def test_known_flows(known: Any) -> None:
    layout = resolve(known.model).layout
    flow = FAMILY.flow(layout, Picture(width=known.width, height=known.height))
    assert flow.as_json()[known.quantity] == known.value


@pytest.mark.parametrize(
    ("path", "layer", "group"),
    [
        ("model.visual.blocks.3.attn.qkv", "visual.blocks.3.attn.qkv", "tower-attention"),
        (
            "model.visual.blocks.0.mlp.linear_fc2",
            "visual.blocks.0.mlp.linear_fc2",
            "tower-mlp",
        ),
        ("model.visual.patch_embed.proj", "visual.patch_embed.proj", "patch-embedding"),
        ("model.visual.merger.linear_fc1", "visual.merger.linear_fc1", "merger"),
        (
            "model.visual.deepstack_merger_list.2.linear_fc1",
            "visual.deepstack_merger_list.2.linear_fc1",
            "deepstack-mergers",
        ),
        (
            "model.language_model.layers.1.self_attn.k_proj",
            "language_model.model.layers.1.self_attn.qkv_proj",
            "language-model",
        ),
        (
            "model.language_model.layers.1.mlp.up_proj",
            "language_model.model.layers.1.mlp.gate_up_proj",
            "language-model",
        ),
        ("lm_head", "language_model.lm_head", None),
    ],
)
def test_paths(path: str, layer: str, group: str | None) -> None:
    assert FAMILY.layer_of(path) == layer
    assert FAMILY.from_vllm(FAMILY.to_vllm(path)) == path
    found = FAMILY.group_of(path)
    assert (found.name if found else None) == group


@pytest.mark.parametrize("model", FAMILY.published)
def test_the_miniature_keeps_what_decides_rows(model: str) -> None:
    found = resolve(model)
    config = FAMILY.miniature(found.config, found.layout)
    assert asdict(FAMILY.layout(config, None)) == asdict(found.layout)
    vision, text = config["vision_config"], config["text_config"]
    assert vision["num_position_embeddings"] == 2304
    assert len(set(vision["deepstack_visual_indexes"])) == 3
    assert max(vision["deepstack_visual_indexes"]) < vision["depth"]
    assert text["num_hidden_layers"] > 3
    assert text["rope_scaling"] == {
        "mrope_interleaved": True,
        "mrope_section": [6, 5, 5],
        "rope_type": "default",
    }
    assert sum(text["rope_scaling"]["mrope_section"]) * 2 == text["head_dim"]
    assert config["tie_word_embeddings"] == (model == "qwen3-vl-4b")
    assert vision["out_hidden_size"] == text["hidden_size"]


def test_the_two_sizes_have_their_levels_elsewhere() -> None:
    levels = [
        FAMILY.miniature(resolve(name).config, resolve(name).layout)["vision_config"]
        for name in FAMILY.published
    ]
    assert levels[0]["deepstack_visual_indexes"] != levels[1]["deepstack_visual_indexes"]


def test_odd_configs_are_refused() -> None:
    for config in ({}, {"vision_config": {"patch_size": 0}}):
        with pytest.raises(UsageError):
            FAMILY.layout(config, None)
    with pytest.raises(UsageError):
        FAMILY.miniature({"vision_config": {}}, PUBLISHED)


@pytest.mark.parametrize(
    ("name", "rows"),
    [
        ("merge-not-squared", (200, 100)),
        ("merger-unmerged", (400, 400)),
        ("deepstack-counted", (400, 400)),
        ("deepstack-under-tower", (400, 100)),
    ],
)
def test_mutants(name: str, rows: tuple[int, int]) -> None:
    class Model:
        config = SimpleNamespace(
            vision_config=SimpleNamespace(spatial_merge_size=2, deepstack_visual_indexes=[1, 2, 3])
        )

        def get_mm_lora_token_counts(self, *, num_mm_embeds: int, **_: Any) -> tuple[int, int]:
            return num_mm_embeds * 4, num_mm_embeds

        def get_mm_mapping(self) -> Any:
            return SimpleNamespace(connector=["visual.merger", "visual.deepstack_merger_list"])

    module = ModuleType("qwen3_vl")
    setattr(module, mutants.CLASS.partition(":")[2], Model)
    (patch,) = (one for one in mutants.PATCHES if one.id == f"mutant-qwen3-{name}")
    patch.apply(module)
    asked = {"modality": "image", "mm_kwargs": None, "num_mm_embeds": 100}
    assert Model().get_mm_lora_token_counts(**asked) == rows
    prefixes = Model().get_mm_mapping().connector
    assert ("visual.deepstack_merger_list" in prefixes) == (name != "deepstack-under-tower")


def test_roles_of_the_groups() -> None:
    assert [group.name for group in FAMILY.roled(TOWER)] == ["tower-attention", "tower-mlp"]
    assert [g.name for g in FAMILY.roled(CONNECTOR)] == ["merger", "deepstack-mergers"]


def test_a_rank_of_a_data_parallel_encoder_gets_the_rows_of_its_own_pictures() -> None:
    sizes, patches = [8, 16, 4], [1] * 8 + [2] * 16 + [3] * 4
    assert rows_of([1], sizes, patches) == [2] * 16
    assert rows_of([2, 0], sizes, patches) == [3] * 4 + [1] * 8
    assert rows_of([2, 0], sizes, patches[::4]) == [3, 1, 1]  # merged
    assert rows_of([], sizes, patches) == []
