"""GLM-4.1V's arithmetic, groups, paths, miniature, and its patches on stand-ins."""

from dataclasses import asdict
from types import ModuleType, SimpleNamespace
from typing import Any, ClassVar

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mm_lora.checks.mismatch import Mismatch
from mm_lora.core.asking import Picture, Video
from mm_lora.core.errors import UsageError
from mm_lora.families.glm4_1v.family import FAMILY
from mm_lora.families.glm4_1v.torch_side import by_medium
from mm_lora.families.models import resolve
from mm_lora.families.modules import CONNECTOR, TOWER
from mm_lora.families.qwen.geometry import video_grid
from mm_lora.families.qwen.tower_qkv import without_tower_qkv
from mm_lora.inside.families.glm4_1v import patches

PUBLISHED = resolve("glm-4.1v").layout
SIDE = st.integers(min_value=1, max_value=6000)


@given(width=SIDE, height=SIDE)
def test_rows_are_whole_tokens_between_the_two_areas(width: int, height: int) -> None:
    # A thin picture is enlarged before its shape is looked at.
    if max(width, height) > 190 * min(width, height):
        return
    flow = FAMILY.flow(PUBLISHED, Picture(width=width, height=height))
    assert flow.rows["patch"] == 4 * flow.rows["merged"] == 4 * flow.tokens
    area = 2 * flow.tokens * 28**2
    assert area >= 12544
    least_side = min(flow.details["grid_height"], flow.details["grid_width"])
    assert area <= 9633792 or least_side == 2


@given(width=SIDE, height=SIDE)
def test_a_picture_is_a_video_of_two_equal_frames(width: int, height: int) -> None:
    if max(width, height) > 190 * min(width, height) or 2 * width * height > 9_000_000:
        return
    picture = FAMILY.flow(PUBLISHED, Picture(width=width, height=height))
    assert picture.rows["patch"] == video_grid(PUBLISHED, 2, width, height).patches


@pytest.mark.parametrize(
    ("size", "patches"),
    [
        ((336, 336), 24 * 24),
        ((700, 400), 50 * 28),  # 14.3 tokens high
        ((1, 1), 6 * 6),  # 28×28 first, then to the least area
        ((2194, 2194), 156 * 156),  # 2 · 2194² is the greatest area, just
        ((3000, 2000), 192 * 128),  # 6144 tokens are the most of two copies: 96 · 64
    ],
)
def test_known_pictures(size: tuple[int, int], patches: int) -> None:
    width, height = size
    assert FAMILY.flow(PUBLISHED, Picture(width=width, height=height)).rows["patch"] == patches


@pytest.mark.parametrize(
    "known", FAMILY.known_flows, ids=lambda k: f"{k.width}x{k.height}-{k.quantity}"
)
def test_known_flows(known: Any) -> None:
    flow = FAMILY.flow(PUBLISHED, Picture(width=known.width, height=known.height))
    assert flow.as_json()[known.quantity] == known.value


def test_each_pair_of_frames_has_its_own_markers() -> None:
    flow = FAMILY.flow(PUBLISHED, Video(width=112, height=112, frames=5))
    assert (flow.tokens, flow.prompt_tokens) == (3 * 16, 3 * 16 + 2 * 3 + 2)
    with pytest.raises(UsageError, match="a video of 1 frames"):
        FAMILY.flow(PUBLISHED, Video(width=112, height=112, frames=1))


@pytest.mark.parametrize(
    ("path", "layer", "group"),
    [
        ("model.visual.blocks.3.attn.qkv", "visual.blocks.3.attn.qkv", "tower-attention"),
        ("model.visual.blocks.0.mlp.up_proj", "visual.blocks.0.mlp.gate_up_proj", "tower-mlp"),
        ("model.visual.patch_embed.proj", "visual.patch_embed.proj", "patch-embedding"),
        ("model.visual.downsample", "visual.downsample", "downsample"),
        ("model.visual.merger.proj", "visual.merger.proj", "merger"),
        ("model.visual.merger.gate_proj", "visual.merger.gate_up_proj", "merger"),
        (
            "model.language_model.layers.1.self_attn.k_proj",
            "language_model.model.layers.1.self_attn.qkv_proj",
            "language-model",
        ),
        (
            "model.language_model.layers.1.mlp.gate_up_proj",
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


def test_the_miniature_keeps_what_decides_rows() -> None:
    found = resolve("glm-4.1v")
    config = FAMILY.miniature(found.config, found.layout)
    assert asdict(FAMILY.layout(config, None)) == asdict(found.layout)
    vision, text = config["vision_config"], config["text_config"]
    assert vision["image_size"] == 336
    assert vision["out_hidden_size"] == text["hidden_size"]
    head = text["hidden_size"] // text["num_attention_heads"]
    assert sum(text["rope_parameters"]["mrope_section"]) == head * 0.5 / 2
    placed = FAMILY.special_tokens.index("<|image|>") - FAMILY.special_tokens.index("<|video|>")
    assert config["image_token_id"] - config["video_token_id"] == placed
    assert "max_window_layers" not in text


def test_both_processors_have_their_own_areas() -> None:
    files = FAMILY.side_files(PUBLISHED)
    pictures = files["preprocessor_config.json"]
    videos = files["video_preprocessor_config.json"]
    assert pictures["size"] == {"shortest_edge": 12544, "longest_edge": 9633792}
    assert videos["size"] == {"shortest_edge": 12544, "longest_edge": 47040000}
    assert pictures["image_processor_type"] == "Glm4vImageProcessor"
    assert videos["video_processor_type"] == "Glm4vVideoProcessor"


def test_roles_of_the_groups() -> None:
    assert [group.name for group in FAMILY.roled(TOWER)] == ["tower-attention", "tower-mlp"]
    assert [group.name for group in FAMILY.roled(CONNECTOR)] == ["merger"]


def test_the_predictor_leaves_out_the_fused_projection_alone() -> None:
    deltas = {"visual.blocks.0.attn.qkv": 1, "visual.blocks.0.attn.proj": 2}
    assert without_tower_qkv(None, None, deltas) == {"visual.blocks.0.attn.proj": 2}  # type: ignore[arg-type]


class Model:
    packed_modules_mapping: ClassVar[dict[str, list[str]]] = {"gate_up_proj": ["gate_up_proj"]}
    config = SimpleNamespace(vision_config=SimpleNamespace(spatial_merge_size=2))

    def get_mm_lora_token_counts(self, *, num_mm_embeds: int, **_: Any) -> tuple[int, int]:
        return num_mm_embeds * 4, num_mm_embeds

    def get_mm_mapping(self) -> Any:
        return SimpleNamespace(connector=["visual.merger."])


@pytest.mark.parametrize(
    ("name", "rows"),
    [
        ("merge-forgotten", (100, 100)),
        ("merge-not-squared", (200, 100)),
        ("merger-unmerged", (400, 400)),
        ("merger-under-tower", (400, 100)),
    ],
)
def test_mutants(name: str, rows: tuple[int, int]) -> None:
    copy = type("Copy", (Model,), dict(vars(Model)))
    module = ModuleType("glm4_1v")
    setattr(module, patches.CLASS.partition(":")[2], copy)
    (patch,) = (one for one in patches.PATCHES if one.id == f"mutant-glm-{name}")
    patch.apply(module)
    asked = {"modality": "image", "mm_kwargs": None, "num_mm_embeds": 100}
    assert copy().get_mm_lora_token_counts(**asked) == rows
    assert bool(copy().get_mm_mapping().connector) == (name != "merger-under-tower")


@pytest.mark.parametrize(
    ("where", "expected", "observed", "explained"),
    [
        ("base_model.model.model.visual.blocks.0.attn.qkv.lora_A.weight", 1, "none", True),
        ("base_model.model.model.visual.blocks.0.attn.proj.lora_A.weight", 1, "none", False),
        ("all", {"tower-attention": (8, 16)}, {"tower-attention": (4, 8)}, True),
        ("tower-qkv", {"tower-attention": (4, 8)}, {}, True),
        ("all", {"tower-attention": (8, 16), "merger": (4, 8)}, {"tower-attention": (4, 8)}, False),
    ],
)
def test_missing_tensors_of_the_fused_projection_are_explained(
    where: str, expected: object, observed: object, explained: bool
) -> None:
    found = [Mismatch(where, "layers that use it", expected, observed)]
    assert bool(FAMILY.predicted_coverage(found)) == explained
    assert FAMILY.predicted_coverage([]) == ()


def test_each_medium_has_the_placeholders_between_its_own_markers() -> None:
    class Tensor(np.ndarray[Any, Any]):
        def unsqueeze(self, axis: int) -> Any:
            return np.expand_dims(self, axis)

    config = SimpleNamespace(image_token_id=1, video_start_token_id=2, video_end_token_id=3)
    ids = np.array([[1, 1, 0, 2, 1, 9, 1, 3, 1]]).view(Tensor)
    pictures, videos = by_medium(config)(ids, None, image_features=None)
    assert pictures.shape == (1, 9, 1)
    assert np.flatnonzero(pictures).tolist() == [0, 1, 8]
    assert np.flatnonzero(videos).tolist() == [4, 6]
