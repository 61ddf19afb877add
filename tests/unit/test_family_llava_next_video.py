"""LLaVA-NeXT-Video: frames and pooling, a family without pictures, fixes of layers and hooks."""

import io
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from family_paths import require_path
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from mm_lora.checks import processor_question
from mm_lora.checks.mismatch import Mismatch
from mm_lora.core.asking import Picture, Sound, Video
from mm_lora.core.errors import UsageError
from mm_lora.families import registry
from mm_lora.families.image_processor import VIDEO_NAME
from mm_lora.families.llava.family import WITHOUT_CLS
from mm_lora.families.llava_next_video.layout import Layout
from mm_lora.families.llava_next_video.torch_side import SIDE
from mm_lora.families.models import resolve
from mm_lora.families.modules import CONNECTOR, TOWER
from mm_lora.families.tokens import DEFAULT_VIDEOS, tokens
from mm_lora.families.vocabulary import token_id
from mm_lora.inside import lora_linear
from mm_lora.inside.families import llava_next_video as hooks

NAME = "llava-next-video"
FAMILY: Any = registry.family(NAME)
LAYOUT: Layout = resolve(NAME).layout
CONFIG = resolve(NAME).config


@given(st.sampled_from(FAMILY.published), st.integers(1, 64), st.integers(1, 4000))
def test_any_video(name: str, frames: int, side: int) -> None:
    # 12 × 12 tokens a frame: the model's announcement. The class token: CLIP's.
    video = Video(frames=frames, width=2 * side, height=side)
    flow = FAMILY.flow(resolve(name).layout, video)
    assert (flow.rows["encoder"], flow.rows["connector"]) == (577 * frames, 144 * frames)
    assert flow.tokens == flow.prompt_tokens == 144 * frames
    assert flow.size == (frames, side)
    assert flow.as_json()["width"] == 2 * side


@given(st.integers(1, 30), st.integers(1, 5), st.integers(1, 32))
def test_any_layout(pooled: int, stride: int, patch: int) -> None:
    size = pooled * stride * patch
    layout = Layout(
        image_size=size, patch_size=patch, pool_stride=stride, class_token=True, drops_first=True
    )
    assert layout.frame_rows == layout.pooled * stride**2 + 1 == (pooled * stride) ** 2 + 1


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"spatial_pool_stride": 5}, "5"),
        ({"spatial_pool_stride": 0}, "pool_stride"),
        ({"spatial_pool_mode": "conv"}, "'conv'"),
        ({"vision_feature_select_strategy": "full"}, "pooled"),
        ({"vision_config": None}, "vision_config"),
        ({"vision_config": {"model_type": "siglip_vision_model"}}, "siglip"),
    ],
)
def test_impossible_configs(change: dict[str, Any], reason: str) -> None:
    with pytest.raises(UsageError, match=reason):
        FAMILY.layout({**CONFIG, **change}, None)


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"crop_size": {"height": 336, "width": 336}, "size": {"shortest_edge": 336}}, ""),
        ({}, ""),
        ({"crop_size": {"height": 224, "width": 224}}, "224"),
        ({"size": {"shortest_edge": 224}}, "224"),
    ],
)
def test_the_video_processor_must_say_the_same(
    tmp_path: Path, settings: dict[str, Any], reason: str
) -> None:
    (tmp_path / VIDEO_NAME).write_text(json.dumps(settings), encoding="utf-8")
    if not reason:
        assert FAMILY.layout(CONFIG, tmp_path) == LAYOUT
        return
    with pytest.raises(UsageError, match=reason):
        FAMILY.layout(CONFIG, tmp_path)


@pytest.mark.parametrize("known", FAMILY.known_flows)
def test_what_others_state(known: Any) -> None:
    flow = FAMILY.flow(LAYOUT, FAMILY.sizes.drawn((known.width, known.height)))
    assert flow.as_json()[known.quantity] == known.value


def test_the_miniature_has_the_published_vision() -> None:
    config = FAMILY.miniature(CONFIG, LAYOUT)
    assert config["architectures"] == ["LlavaNextVideoForConditionalGeneration"]
    assert config["video_token_index"] == token_id(FAMILY.special_tokens, "<video>")
    assert config["image_token_index"] == token_id(FAMILY.special_tokens, "<image>")
    assert FAMILY.layout(json.loads(json.dumps(config)), None) == LAYOUT
    files = FAMILY.side_files(LAYOUT)
    assert files[VIDEO_NAME]["crop_size"] == {"height": 336, "width": 336}
    assert "image_processor_type" not in files[VIDEO_NAME]


def test_one_video_a_prompt_and_no_picture() -> None:
    video, picture = FAMILY.sizes.picture("one", seed=3), Picture(width=336, height=336)
    assert video == Video(frames=1, width=336, height=336, seed=3)
    assert FAMILY.holds((video,))
    for media in ((video, video), (picture,), (video, picture)):
        assert not FAMILY.holds(media)
    for medium in (picture, Sound(samples=9)):
        with pytest.raises(UsageError, match="videos alone"):
            FAMILY.flow(LAYOUT, medium)
    prompts = FAMILY.questions(LAYOUT)
    assert {len(prompt) for prompt in prompts} == {1}
    assert len({prompt[0].seen_size for prompt in prompts}) >= 13
    assert "'image" not in FAMILY.chat_template


def test_what_is_asked_and_counted_of_videos_alone() -> None:
    told = tokens(NAME)
    assert not told.pictures
    assert [flow.units for flow in told.videos] == [1, 8, 32]
    assert len(told.videos) == len(DEFAULT_VIDEOS)
    asked = processor_question.prompts(resolve(NAME))
    assert [prompt[0].asked for prompt in asked if prompt[0].name == "2x300"] == [
        Video(frames=2, width=300, height=300)
    ]


def test_the_canary_is_a_video() -> None:
    canary = SIDE.canary()
    assert canary["kind"] == "video"
    (frame,) = canary["files"]
    assert Image.open(io.BytesIO(frame)).size == (64, 64)


@pytest.mark.parametrize(
    ("path", "group", "layer"),
    [
        (
            "model.vision_tower.encoder.layers.22.self_attn.k_proj",
            "tower-attention",
            "vision_tower.vision_model.encoder.layers.22.self_attn.qkv_proj",
        ),
        (
            "model.multi_modal_projector.linear_2",
            "projector",
            "multi_modal_projector.linear_2",
        ),
    ],
)
def test_groups_and_names(path: str, group: str, layer: str) -> None:
    found = require_path(FAMILY, path, group, layer)
    assert found.role == (CONNECTOR if group == "projector" else TOWER)
    assert FAMILY.layer_of(SIDE.saved_names(path)) == layer


@pytest.mark.parametrize(
    ("tower", "connector", "names"),
    [(576 * 4, 144 * 4, (WITHOUT_CLS,)), (576 * 4, 144, ()), (144 * 4, 144 * 4, ())],
)
def test_only_the_lost_class_tokens_are_predicted(
    tower: int, connector: int, names: tuple[str, ...]
) -> None:
    right = {"tower rows": (577 * 4, tower), "connector rows": (144 * 4, connector)}
    found = [
        Mismatch(f"{NAME} 4 frames", what, expected, said)
        for what, (expected, said) in right.items()
        if expected != said
    ]
    assert FAMILY.predicted_rows(LAYOUT, found) == names


def counted(patch_id: str, frames: int) -> tuple[int, int]:
    """What the hook answers of so many frames with a patch: vLLM's own count, or a mended one."""
    config = SimpleNamespace(
        **{key: CONFIG[key] for key in ("spatial_pool_stride", "vision_feature_select_strategy")},
        vision_config=SimpleNamespace(**CONFIG["vision_config"]),
    )
    model = SimpleNamespace(config=config, **hooks.prepared(config))
    fix = f"{NAME}-class-token-rows"

    def vllms(self: Any, *, num_mm_embeds: int) -> tuple[int, int]:
        count = num_mm_embeds // self.pooled_grid_length**2
        return count * self.patch_grid_length**2, count * self.pooled_grid_length**2

    hook: Any = vllms
    for patch in (one for one in hooks.PATCHES if one.id in (fix, f"mutant-{NAME}-{patch_id}")):
        hook = patch.wraps[hooks.HOOK](hook)
    rows: tuple[int, int] = hook(model, num_mm_embeds=144 * frames)
    return rows


@pytest.mark.parametrize(
    ("patch", "rows"),
    [
        ("", (1731, 432)),
        ("frame-lost", (1154, 288)),
        ("pooling-forgotten", (1731, 1728)),
        ("pooling-not-squared", (1731, 864)),
    ],
)
def test_the_hooks_fix_and_its_miscounts(patch: str, rows: tuple[int, int]) -> None:
    assert counted(patch, 3) == rows
    assert counted("", 0) == (0, 0)


def test_the_projector_is_of_vllms_layers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lora_linear, "replicated", lambda layer: ("replicated", layer))

    class Projector:
        def __init__(self, width: int) -> None:
            self.linear_1, self.act, self.linear_2 = width, "act", 2

    (patch,) = (one for one in hooks.PATCHES if one.id == f"{NAME}-projector-layers")
    (make,) = patch.wraps.values()
    Projector.__init__ = make(Projector.__init__)  # type: ignore[method-assign]
    made = Projector(1)
    assert (made.linear_1, made.act, made.linear_2) == (
        ("replicated", 1),
        "act",
        ("replicated", 2),
    )


def test_a_projector_under_the_tower() -> None:
    (patch,) = (one for one in hooks.PATCHES if one.id == f"mutant-{NAME}-projector-under-tower")
    (make,) = patch.wraps.values()
    mapping = SimpleNamespace(tower_model=["vision_tower"], connector=["multi_modal_projector"])
    wrong = make(lambda self: mapping)(None)
    assert (wrong.tower_model, wrong.connector) == (["vision_tower", "multi_modal_projector"], [])
