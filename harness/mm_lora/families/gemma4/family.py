"""Gemma 4: pictures and videos, each filled up to its budget of patches, which are averaged."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

from mm_lora.core.asking import Medium, Video
from mm_lora.families.family import Family, Sizes, VllmClass
from mm_lora.families.flow import Flow, HookCase, known
from mm_lora.families.forms import peft_forms
from mm_lora.families.gemma3.family import CAUSAL
from mm_lora.families.gemma4 import miniature
from mm_lora.families.gemma4.layout import Layout, layout_of
from mm_lora.families.gemma4.modules import GROUPS
from mm_lora.families.modules import CONNECTOR, LANGUAGE, TOWER
from mm_lora.families.pictures import Picture, by_size, questions
from mm_lora.families.sounds import Clip

KEYS_ALONE = "adapted-keys-not-values"
SHORT_BUFFERS = "buffers-sized-by-whole-budgets"
_MARKERS = 2
"""Before and after a picture, or a frame of a video."""
_ROOM = "room for"


class Gemma4(Family):
    """Any picture is resized to about 280 rows; the tower is given 2520 patches whatever it has.

    A video is so many pictures of a smaller budget, each with its time before it.
    """

    name = "gemma4"
    title = "Gemma 4"
    model_types: ClassVar[tuple[str, ...]] = ("gemma4",)
    published: ClassVar[tuple[str, ...]] = ("gemma4", "gemma4-31b")
    repositories: ClassVar[Mapping[str, str]] = {
        "google/gemma-4-E2B-it": "gemma4",
        "google/gemma-4-31B-it": "gemma4-31b",
    }
    state = "partly"
    state_reason = (
        "the small model's core passes with the fixes; without, a picture and a video in one "
        "request end vLLM. Of the large model, whose pictures see all of themselves, the base and "
        "adapters of k_proj were served. Layers that take keys and values of others are not in the "
        "miniature"
    )
    media: ClassVar[tuple[str, ...]] = ("image", "video")
    groups = GROUPS
    formulas: ClassVar[Mapping[str, str]] = {
        "encoder": "max_soft_tokens · pooling_kernel_size² of a picture: 280 · 9; 70 · 9 of each "
        "frame of a video. What it does not need is filled up",
        "connector": "h · w, each rounded down: sides of the picture in squares of patch_size · "
        "pooling_kernel_size pixels, resized so that h · w ≤ max_soft_tokens (transformers' "
        "documentation of Gemma 4)",
    }
    forms = peft_forms(
        GROUPS,
        ranks={r"q_proj\.linear": 2, r"down_proj\.linear": 4},
        alphas={r"o_proj\.linear": 5, r"gate_proj\.linear": 40},
        ends=("embedding_projection",),
        ends_groups=("projector",),
    )
    base_predictors = (CAUSAL, KEYS_ALONE)
    text_predictors = (KEYS_ALONE,)
    core_numbers = (("language-k_proj", "text-only"),)
    # Each picture has about 270 rows, of whatever size it is.
    sizes = Sizes(few=(400, 300), many=(700, 400), grows=False)
    piece = 1024
    special_tokens = miniature.SPECIAL_TOKENS
    vllm = VllmClass(module="gemma4_mm", name="Gemma4ForConditionalGeneration")
    limits: ClassVar[Mapping[str, int]] = {"image": 4, "video": 1}
    prefixes: ClassVar[tuple[tuple[str, str], ...]] = (
        ("model.language_model.", "language_model.model."),
        ("model.vision_tower.", "vision_tower."),
        ("model.embed_vision.", "embed_vision."),
        ("lm_head", "language_model.lm_head"),
    )
    known_flows = (
        *known(
            name,
            (336, 336),
            "16 · 16 squares of 48 pixels: the budget's largest square",
            image_tokens=256,
        ),
    )
    prefix_cases: ClassVar[Mapping[str, str]] = {
        "vision_tower.patch_embedder.input_proj": TOWER,
        "vision_tower.encoder.layers.15.self_attn.q_proj.linear": TOWER,
        "vision_tower.encoder.layers.0.self_attn.o_proj.linear": TOWER,
        "vision_tower.encoder.layers.0.mlp.down_proj.linear": TOWER,
        "embed_vision.embedding_projection": CONNECTOR,
        "language_model.model.layers.14.self_attn.qkv_proj": LANGUAGE,
        "language_model.model.layers.34.per_layer_projection": LANGUAGE,
        "language_model.model.per_layer_model_projection": LANGUAGE,
    }

    def layout(self, config: Mapping[str, Any], folder: Path | None) -> Layout:
        """See `layout_of`."""
        return layout_of(config, folder)

    def flow(self, layout: Layout, medium: Medium) -> Flow:
        """A picture's, or a video's of `frames` sampled frames; their times are text."""
        size = medium.width, medium.height
        frames = medium.frames if isinstance(medium, Video) else 1
        most = layout.frame_most if isinstance(medium, Video) else layout.most
        high, wide = layout.grid(*size, most)
        tokens = frames * high * wide
        counted = {"frames": frames} if isinstance(medium, Video) else {}
        name = f"{medium.width}×{medium.height}"
        return Flow(
            name=f"{frames}×{name}" if counted else name,
            size=size,
            rows={"encoder": frames * layout.rows(most), "connector": tokens},
            tokens=tokens,
            prompt_tokens=tokens + frames * _MARKERS,
            medium=medium.medium,
            details={**counted, "grid_height": high, "grid_width": wide},
        )

    def describe(self, layout: Layout) -> Sequence[str]:
        """The layout, and the rows of a picture and of a frame."""
        return (
            f"patch {layout.patch} / pool {layout.pool}: a row for {layout.square}×"
            f"{layout.square} pixels of the resized picture",
            f"rows of any picture: {layout.rows(layout.most)} encoder, at most {layout.most} "
            f"connector; of a frame: {layout.rows(layout.frame_most)}, {layout.frame_most}",
        )

    def miniature(self, config: Mapping[str, Any], layout: Layout) -> dict[str, Any]:
        """See `miniature`."""
        return miniature.miniature_config(config)

    def side_files(self, layout: Layout) -> dict[str, Any]:
        """See `miniature`."""
        return miniature.side_files(layout)

    def questions(self, layout: Any) -> Sequence[Sequence[Picture | Clip]]:
        """Every border of rounding and of the least side, in both directions; then several."""
        square, most = layout.square, layout.most
        sizes = {
            "1x1": (1, 1),
            "square": (16 * square, 16 * square),
            "exact": (20 * square, 14 * square),
            "under-exact": (20 * square - 1, 14 * square),
            "exact-wide": (35 * square, 8 * square),
            "rounded-away": (154, 55),
            "rounded-away-upright": (55, 154),
            "thin": (1000, 8),
            "one-high": (1000, 5),
            "still-one-high": (most * 3, 3),
            "vanishing": ((most + 1) * 3, 3),
            "vanishing-upright": (3, (most + 1) * 3),
            "line": (5000, 1),
            "large": (5000, 3001),
            "upright": (300, 1100),
            "exact-small": (35, 8),
            "100x60": (100, 60),
            **by_size(self.sizes.one, self.sizes.few, self.sizes.many),
        }
        together = (
            ("square", "400x300"),
            ("700x400", "upright", "700x400"),
            ("1x1", "thin", "gray", "turned"),
        )
        return questions(sizes, together, gray=(300, 150), rgba=(150, 400))

    def clips(self, layout: Layout) -> Sequence[Video]:
        """One frame and several, exact and rounded sides, and those that would vanish."""
        square = layout.square
        sizes = [
            *((frames, 112, 112) for frames in (1, 2, 3, 8)),
            *((4, 320, 240), (5, 700, 400), (2, 3000, 1900)),
            *((2, 10 * square, 7 * square), (2, 7 * square, 10 * square - 1)),
            *((2, 154, 55), (3, 300, 4), (2, 4, 300)),
        ]
        return tuple(Video(frames=n, width=w, height=h) for n, w, h in sizes)

    def hook_cases(self, layout: Layout) -> Sequence[HookCase]:
        """What each picture and video has; what buffers are sized by: several in one step."""
        known_cases: dict[tuple[str, int], HookCase] = {}
        for flow in self.alone(layout):
            case = HookCase(
                label=f"{flow.tokens} placeholders",
                tokens=flow.tokens,
                tower=flow.rows["encoder"],
                connector=flow.tokens,
                shapes={"pixel_values": (layout.rows(layout.most), 3 * layout.patch**2)},
            )
            known_cases.setdefault(("image", flow.tokens), case)
        for clip in self.clips(layout):
            flow = self.flow(layout, clip)
            shape = (clip.frames, layout.rows(layout.frame_most), 3 * layout.patch**2)
            case = HookCase(
                label=f"{clip.frames} frames, {flow.tokens} placeholders",
                tokens=flow.tokens,
                tower=flow.rows["encoder"],
                connector=flow.tokens,
                medium="video",
                shapes={"pixel_values_videos": shape},
            )
            known_cases.setdefault((case.label, flow.tokens), case)
        flows = [*self.alone(layout), *(self.flow(layout, clip) for clip in self.clips(layout))]
        room = {
            (flow.medium, times * flow.tokens): times * flow.rows["encoder"]
            for flow in flows
            for times in (1, 2, 8)
        }
        sized = [
            HookCase(
                label=f"{_ROOM} {tokens} {medium} placeholders",
                tokens=tokens,
                tower=rows,
                connector=tokens,
                medium=medium,
                least=True,
            )
            for (medium, tokens), rows in sorted(room.items())
        ]
        odd = [HookCase(label=f"{n} image tokens", tokens=n) for n in (0, -1)]
        return [*known_cases.values(), *sized, *odd]

    def predicted_rows(self, layout: Any, found: Sequence[Any]) -> tuple[str, ...]:
        """`buffers-sized-by-whole-budgets`: nothing but the buffers' sizes is wrong. Of pictures it
        is the rows of one, of videos those of frames that use all of their budget."""

        def whole(one: Any) -> bool:
            rows = layout.rows(layout.most)
            if " video " in one.where:
                rows = layout.rows(layout.frame_most)
                return bool(one.observed % rows == 0)
            return bool(one.observed == rows)

        short = bool(found) and all(_ROOM in one.where and whole(one) for one in found)
        return (SHORT_BUFFERS,) if short else ()


FAMILY = Gemma4()
