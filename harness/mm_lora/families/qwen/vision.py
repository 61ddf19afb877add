"""`QwenVision`: what Qwen's vision families have in common."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

from mm_lora.core.asking import Medium, Video
from mm_lora.families.family import Family, PeftForms
from mm_lora.families.flow import Flow, HookCase, KnownFlow, known
from mm_lora.families.forms import peft_forms
from mm_lora.families.image_processor import NAMES, VIDEO_NAME, require_same, stored_settings
from mm_lora.families.layouts import vision_of
from mm_lora.families.modules import (
    CONNECTOR,
    LANGUAGE,
    TOWER,
    ModuleGroup,
    by_name,
    language_model,
    siblings,
)
from mm_lora.families.pictures import Picture
from mm_lora.families.qwen import miniature, pictures
from mm_lora.families.qwen.geometry import (
    MAX_PIXELS,
    MIN_PIXELS,
    Grid,
    Layout,
    picture_grid,
    video_grid,
    windows,
)

OLDER = (("model.language_model.", "model."), ("model.visual.", "visual."))
"""PEFT's prefixes and those that it wrote on transformers 4.51 and older."""
TEXT = "model.language_model.layers.*"
BLOCK = "model.visual.blocks.*"
_FRAME = 2
"""`<|vision_start|>` and `<|vision_end|>`."""

_SAME = {
    "patch_size": "patch_size",
    "merge_size": "spatial_merge_size",
    "temporal_patch_size": "temporal_patch_size",
}
"""What a processor's settings and a vision_config must agree on: the key of each."""


def groups(mlp: Sequence[str], glob: str) -> Mapping[str, ModuleGroup]:
    """The module groups; `mlp`: last names in the tower's MLP, `glob`: all of them."""
    return by_name(
        siblings("tower-attention", f"{BLOCK}.attn", ("qkv", "proj"), "[qp]*", rows="patch"),
        siblings("tower-mlp", f"{BLOCK}.mlp", mlp, glob, rows="patch"),
        # A convolution: PEFT adapts it, vLLM has no LoRA layer for it, whatever the flags.
        ModuleGroup(
            name="patch-embedding",
            pattern=r"model\.visual\.patch_embed\.proj",
            role=TOWER,
            rows="patch",
            target="model.visual.patch_embed.proj",
            unwrapped="no LoRA layer class fits",
        ),
        # Under the tower's prefix, but a connector. nn.Sequential numbers its layers.
        siblings(
            "merger",
            "model.visual.merger.mlp",
            ("0", "2"),
            "[02]",
            role=CONNECTOR,
            rows="merged",
        ),
        language_model(TEXT),
    )


def forms(
    groups: Mapping[str, ModuleGroup], ends: tuple[str, ...], ends_groups: tuple[str, ...]
) -> PeftForms:
    """What PEFT configurations speak of. `ends`: last names that only Linear modules have: in a
    list, `proj` would name the patch embedding too."""
    return peft_forms(
        groups,
        wide=tuple(name for name, group in groups.items() if not group.unwrapped),
        ranks={"qkv": 2, "down_proj": 4},
        alphas={"o_proj": 5, "qkv": 40},
        packed=("language-q_proj", "language-v_proj", next(iter(groups["tower-mlp"].projections))),
        ends=ends,
        ends_groups=ends_groups,
    )


class QwenVision(Family):
    """Pictures of any shape, each as large as it is; merge × merge patches become one row."""

    media = ("image", "video")
    processor_class: ClassVar[str]
    vision_widths: ClassVar[Mapping[str, Any]]
    """What the miniature's vision_config has instead of the published widths."""
    areas: ClassVar[Mapping[str, int]] = {
        "shortest_edge": MIN_PIXELS,
        "longest_edge": MAX_PIXELS,
    }
    """The least and the greatest area where a model's folder states none; named as there."""
    video_areas: ClassVar[Mapping[str, int] | None] = None
    """The same of all frames of a video together; None where each frame is resized as a picture
    is."""
    copies: ClassVar[int] = 1
    """As so many equal frames a picture is resized; see `geometry.Layout`."""
    marked_frames: ClassVar[bool] = False
    """Whether each group of frames has markers of its own, within those of the video. The time
    that is written before each is text."""
    mapped: ClassVar[Mapping[str, str]] = {TOWER: "patch", CONNECTOR: "merged"}
    formulas: ClassVar[Mapping[str, str]] = {
        "patch": "⌈frames / temporal_patch_size⌉ · h · w patches of the resized picture; each side "
        "is whole squares of patch_size · merge pixels (Qwen2-VL, arXiv 2409.12191)",
        "merged": "patch rows / spatial_merge_size²",
    }
    special_tokens: ClassVar[tuple[str, ...]] = miniature.SPECIAL_TOKENS
    limits: ClassVar[Mapping[str, int]] = {"image": 4, "video": 1}
    prefixes = (
        ("model.language_model.", "language_model.model."),
        ("model.visual.", "visual."),
        ("lm_head", "language_model.lm_head"),
    )
    later = "tower-qkv"

    def layout(self, config: Mapping[str, Any], folder: Path | None) -> Layout:
        """Patches, merging and windows of config.json, pixel limits of the image processor."""
        vision = vision_of(config, "model")
        if folder:
            same = {key: vision.get(other) for key, other in _SAME.items()}
            for names in (NAMES, (VIDEO_NAME,)):
                require_same(folder, same, names)
        stored = _settings(folder, NAMES) if folder else {}
        videos = (_settings(folder, (VIDEO_NAME,)) if folder else {}) or (
            {"size": self.video_areas} if self.video_areas else stored
        )
        return self._layout(vision, {"size": self.areas, **stored}, videos)

    def published_layout(self, data: Mapping[str, Any]) -> Layout:
        """The pixel limits are stored beside the config."""
        pictures = data["processor"]
        videos = {"size": self.video_areas} if self.video_areas else pictures
        return self._layout(data["config"]["vision_config"], pictures, videos)

    def _layout(
        self, vision: Mapping[str, Any], pictures: Mapping[str, Any], videos: Mapping[str, Any]
    ) -> Layout:
        together = self.video_areas is not None
        return Layout.of(vision, pictures, videos, together=together, copies=self.copies)

    def flow(self, layout: Layout, medium: Medium) -> Flow:
        """A picture's, or a video's of `frames` sampled frames."""
        width, height = size = medium.width, medium.height
        if isinstance(medium, Video):
            grid = video_grid(layout, medium.frames, width, height)
            markers = _FRAME * (1 + grid.frames) if self.marked_frames else _FRAME
            name = f"{medium.frames}×{width}×{height}"
            return _flow(layout, name, size, grid, medium="video", markers=markers)
        return _flow(layout, f"{width}×{height}", size, picture_grid(layout, width, height))

    def describe(self, layout: Layout) -> Sequence[str]:
        """The layout, and what one row of the language model is."""
        window = f", windows of {layout.window} pixels" if layout.window else ""
        return (
            f"patch {layout.patch} / merge {layout.merge}, {layout.min_pixels} to "
            f"{layout.max_pixels} pixels{window}",
            f"one row of the language model: {layout.square}×{layout.square} pixels, "
            f"{layout.merge**2} rows of the tower",
        )

    def miniature(self, config: Mapping[str, Any], layout: Layout) -> dict[str, Any]:
        """See `miniature`."""
        return miniature.miniature_config(config, self.vision_widths)

    def side_files(self, layout: Layout) -> dict[str, Any]:
        """See `miniature`."""
        return miniature.side_files(layout, self.processor_class)

    def questions(self, layout: Layout) -> Sequence[Sequence[Picture]]:
        """See `pictures`."""
        return pictures.questions(layout)

    def clips(self, layout: Layout) -> Sequence[Video]:
        """See `pictures`."""
        return pictures.clips(layout)

    def hook_cases(self, layout: Layout) -> Sequence[HookCase]:
        """See `pictures`."""
        sizes = self.sizes
        return tuple(pictures.hook_cases(layout, (sizes.one, sizes.few, sizes.many)))


def measured(model: str) -> tuple[KnownFlow, ...]:
    """What layers of a running server saw; the same for all whose patch and merge agree."""
    source = "rows inside a running vLLM 0.32.0"
    return (
        *known(model, (336, 336), source, patch_rows=576, merged_rows=144),
        *known(model, (700, 400), source, patch_rows=1400, merged_rows=350),
    )


def prefix_cases(*mlp: str) -> Mapping[str, str]:
    """`Family.prefix_cases`; `mlp`: vLLM's names in the tower's MLP."""
    return {
        "visual.patch_embed.proj": TOWER,
        "visual.blocks.31.attn.qkv": TOWER,
        "visual.blocks.7.attn.proj": TOWER,
        **{f"visual.blocks.0.mlp.{name}": TOWER for name in mlp},
        "visual.merger.mlp.0": CONNECTOR,
        "visual.merger.mlp.2": CONNECTOR,
        "language_model.model.layers.27.self_attn.o_proj": LANGUAGE,
    }


def _flow(
    layout: Layout,
    name: str,
    size: tuple[int, int],
    grid: Grid,
    *,
    medium: str = "image",
    markers: int = _FRAME,
) -> Flow:
    frames = {"grid_frames": grid.frames} if medium == "video" else {}
    cut = {"windows": windows(layout, grid)} if layout.window else {}
    return Flow(
        name=name,
        size=size,
        rows={"patch": grid.patches, "merged": grid.merged},
        tokens=grid.merged,
        prompt_tokens=grid.merged + markers,
        medium=medium,
        details={**frames, "grid_height": grid.height, "grid_width": grid.width, **cut},
    )


def _settings(folder: Path, names: Sequence[str]) -> Mapping[str, Any]:
    """A processor's settings in files of a model folder; empty where it has none."""
    for data, nested in stored_settings(folder, names):
        for settings in (nested, data):
            if "size" in settings or "max_pixels" in settings:
                return settings
    return {}
