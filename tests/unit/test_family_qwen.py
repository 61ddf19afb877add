"""Qwen2.5-VL and Qwen2-VL: arithmetic, module groups, names in vLLM, miniatures."""

import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mm_lora.core.asking import Picture, Video
from mm_lora.core.errors import UsageError
from mm_lora.families.family import Family
from mm_lora.families.models import resolve
from mm_lora.families.modules import CONNECTOR, LANGUAGE, TOWER
from mm_lora.families.qwen.geometry import (
    NARROWEST,
    Layout,
    picture_grid,
    video_grid,
    windows,
)
from mm_lora.families.registry import family
from mm_lora.families.vocabulary import vocabulary

PUBLISHED = Layout(patch=14, merge=2, window=112)
QWENS = tuple(family(name) for name in ("qwen2.5-vl", "qwen2-vl"))
MODELS = tuple(name for one in QWENS for name in one.published)

sides = st.integers(1, 9_000)
layouts = st.builds(
    lambda patch, merge, least, times: Layout(
        patch=patch,
        merge=merge,
        min_pixels=least,
        max_pixels=max(least, (patch * merge) ** 2) * times,
    ),
    st.integers(2, 20),
    st.integers(1, 4),
    st.integers(1, 100_000),
    st.integers(4, 400),
)
by_family = pytest.mark.parametrize("one", QWENS, ids=lambda one: one.name)


@given(layouts, sides, sides)
def test_grid_is_whole_rows_within_the_limits(layout: Layout, width: int, height: int) -> None:
    if max(width, height) > NARROWEST * min(width, height):
        with pytest.raises(UsageError, match="narrower"):
            picture_grid(layout, width, height)
        return
    grid = picture_grid(layout, width, height)
    assert grid.height % layout.merge == grid.width % layout.merge == 0
    assert grid.patches == grid.merged * layout.merge**2
    area = grid.patches * layout.patch**2
    # A side is at least one row, whatever the limit.
    thin = layout.merge in (grid.height, grid.width)
    assert layout.min_pixels <= area
    assert area <= layout.max_pixels or thin


@given(layouts, sides, sides)
def test_sides_change_places(layout: Layout, width: int, height: int) -> None:
    if max(width, height) <= NARROWEST * min(width, height):
        grid, turned = picture_grid(layout, width, height), picture_grid(layout, height, width)
        assert (grid.height, grid.width) == (turned.width, turned.height)


@given(st.integers(2, 100), st.integers(2, 100))
def test_whole_rows_stay_as_they_are(rows: int, columns: int) -> None:
    grid = picture_grid(PUBLISHED, columns * 28, rows * 28)
    assert (grid.height, grid.width) == (2 * rows, 2 * columns)


@pytest.mark.parametrize(
    ("layout", "size", "patches", "merged"),
    [
        (PUBLISHED, (336, 336), 576, 144),
        (PUBLISHED, (700, 400), 1400, 350),
        (Layout(patch=14, merge=2, max_pixels=256 * 28**2), (700, 400), 1008, 252),
        (PUBLISHED, (1, 1), 16, 4),
        (PUBLISHED, (3584, 3584), 65536, 16384),
        (PUBLISHED, (3621, 3621), 64516, 16129),  # by exact numbers 16384
        (PUBLISHED, (70, 336), 96, 24),  # 2.5 rows: the even number
        (PUBLISHED, (98, 336), 192, 48),  # 3.5 rows
    ],
)
def test_known_pictures(layout: Layout, size: tuple[int, int], patches: int, merged: int) -> None:
    grid = picture_grid(layout, *size)
    assert (grid.patches, grid.merged) == (patches, merged)


@given(st.integers(1, 40), sides, sides)
def test_video_is_its_frames_in_pairs(frames: int, width: int, height: int) -> None:
    if max(width, height) <= NARROWEST * min(width, height):
        one = picture_grid(PUBLISHED, width, height)
        assert video_grid(PUBLISHED, frames, width, height).patches == one.patches * (
            (frames + 1) // 2
        )


@given(st.integers(1, 40), sides, sides)
def test_frames_have_limits_of_their_own(frames: int, width: int, height: int) -> None:
    if max(width, height) <= NARROWEST * min(width, height):
        limits = {"video_min_pixels": 40_000, "video_max_pixels": 90_000}
        as_pictures = {"min_pixels": 40_000, "max_pixels": 90_000}
        video = video_grid(Layout(patch=14, merge=2, **limits), frames, width, height)
        picture = picture_grid(Layout(patch=14, merge=2, **as_pictures), width, height)
        assert (video.height, video.width) == (picture.height, picture.width)


def test_windows_at_the_border_count() -> None:
    assert windows(PUBLISHED, picture_grid(PUBLISHED, 336, 336)) == 9
    assert windows(PUBLISHED, picture_grid(PUBLISHED, 364, 336)) == 12


@pytest.mark.parametrize(
    "numbers",
    [
        {"patch": 0},
        {"merge": True},
        {"window": 100},
        {"min_pixels": 9, "max_pixels": 8},
        {"video_min_pixels": 9000, "video_max_pixels": 8000},
        {"video_max_pixels": 27 * 28},
    ],
    ids=str,
)
def test_impossible_layouts(numbers: dict[str, Any]) -> None:
    with pytest.raises(UsageError):
        Layout(**{"patch": 14, "merge": 2, **numbers})


@by_family
def test_flow_and_known_flows(one: Family) -> None:
    layout = resolve(one.name).layout
    flow = one.flow(layout, Picture(width=400, height=300))
    assert (flow.rows, flow.tokens, flow.prompt_tokens) == ({"patch": 616, "merged": 154}, 154, 156)
    for known in one.known_flows:
        picture = Picture(width=known.width, height=known.height)
        flow = one.flow(resolve(known.model).layout, picture)
        assert flow.as_json()[known.quantity] == known.value


@by_family
def test_a_video_is_framed_once(one: Family) -> None:
    layout = resolve(one.name).layout
    flow = one.flow(layout, Video(width=112, height=112, frames=5))
    assert flow.rows == {"patch": 3 * 64, "merged": 3 * 16}
    assert (flow.tokens, flow.prompt_tokens) == (48, 50)
    with pytest.raises(UsageError, match="0 frames"):
        one.flow(layout, Video(width=112, height=112, frames=0))


@by_family
def test_every_way_of_counting_is_asked_about_videos(one: Family) -> None:
    layout = resolve(one.name).layout
    clips = one.clips(layout)
    assert len({(clip.width, clip.height, clip.frames) for clip in clips}) >= 14
    assert {clip.frames % 2 for clip in clips} == {0, 1}
    hooked = [case for case in one.hook_cases(layout) if case.medium == "video"]
    assert len(hooked) == len(clips)


@by_family
@pytest.mark.parametrize(
    ("path", "vllm", "group", "role"),
    [
        ("model.visual.blocks.3.attn.qkv", "visual.blocks.3.attn.qkv", "tower-attention", TOWER),
        ("model.visual.merger.mlp.0", "visual.merger.mlp.0", "merger", CONNECTOR),
        (
            "model.language_model.layers.3.self_attn.v_proj",
            "language_model.model.layers.3.self_attn.v_proj",
            "language-model",
            LANGUAGE,
        ),
        ("lm_head", "language_model.lm_head", None, None),
    ],
)
def test_names(one: Family, path: str, vllm: str, group: str | None, role: str | None) -> None:
    assert one.to_vllm(path) == vllm
    assert one.from_vllm(vllm) == path
    found = one.group_of(path)
    assert (found and found.name, found and found.role) == (group, role)


@pytest.mark.parametrize(
    ("name", "mlp"), [("qwen2.5-vl", "gate_proj"), ("qwen2-vl", "fc1")], ids=lambda v: v
)
def test_globs_name_no_activation(name: str, mlp: str) -> None:
    target = family(name).groups["tower-mlp"].target
    pattern = re.escape(target).replace(r"\*", ".*").replace(r"\?", ".")
    assert re.fullmatch(pattern, f"model.visual.blocks.0.mlp.{mlp}")
    assert not re.fullmatch(pattern, "model.visual.blocks.0.mlp.act_fn")
    assert not re.fullmatch(pattern, "model.visual.blocks.0.mlp.act")


@pytest.mark.parametrize("name", MODELS)
def test_miniature_has_the_published_structure(name: str) -> None:
    model = resolve(name)
    config = model.family.miniature(model.config, model.layout)
    vision, published = config["vision_config"], model.config["vision_config"]
    for key in ("patch_size", "spatial_merge_size", "temporal_patch_size", "window_size"):
        assert vision.get(key) == published.get(key)
    assert config["tie_word_embeddings"] == model.config["tie_word_embeddings"]
    assert model.family.layout(config, None) == model.layout
    head = config["hidden_size"] // config["num_attention_heads"]
    assert 2 * sum(config["rope_scaling"]["mrope_section"]) == head
    assert config["vocab_size"] == len(vocabulary(model.family.special_tokens))
    assert max(v for k, v in config.items() if k.endswith("token_id")) < config["vocab_size"]
    assert model.config["hidden_size"] > 1000  # the published one is not touched
