"""LFM2-VL: patches of a picture packed one after the other, pixel unshuffle, a projector of two."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

from mm_lora.core.asking import Medium
from mm_lora.families.family import GoodAdapter, Sizes, VllmClass
from mm_lora.families.flow import Flow, HookCase, known
from mm_lora.families.forms import peft_forms
from mm_lora.families.layouts import vision_of
from mm_lora.families.lfm2_vl import miniature
from mm_lora.families.lfm2_vl.layout import Layout, layout_of
from mm_lora.families.llava.towers import OWN, EncoderTower
from mm_lora.families.modules import LANGUAGE, PROMPT, TOWER, ModuleGroup, by_name
from mm_lora.families.pictures import Picture, by_size, questions
from mm_lora.families.tiles import drawing

CONV_IGNORED = "conv-adapters-ignored"
HEADS_AS_TOKENS = "heads-taken-for-tokens"
_TEXT = "model.language_model.layers.*"


def _language(name: str, parent: str, glob: str, **projections: str) -> ModuleGroup:
    ends = "|".join(projections.values())
    return ModuleGroup(
        name=name,
        pattern=rf"model\.language_model\.layers\.\d+\.{parent}\.({ends})",
        role=LANGUAGE,
        rows=PROMPT,
        target=f"{_TEXT}.{parent}.{glob}",
        projections={f"language-{key}": f"{_TEXT}.{parent}.{p}" for key, p in projections.items()},
    )


GROUPS = by_name(
    # Here it is a linear layer, to which the pixels of a patch are given as one row.
    ModuleGroup(
        name="patch-embedding",
        pattern=r"model\.vision_tower\.(vision_model\.)?embeddings\.patch_embedding",
        role=TOWER,
        rows="encoder",
        target=f"{OWN}embeddings.patch_embedding",
    ),
    *(EncoderTower.groups[name] for name in ("tower-attention", "tower-mlp", "projector")),
    _language(
        "language-model",
        "self_attn",
        "*_proj",
        **{f"{p}_proj": f"{p}_proj" for p in "qkv"},
        o_proj="out_proj",
    ),
    _language("language-mlp", "feed_forward", "w?", **{f"w{n}": f"w{n}" for n in "123"}),
    # The convolution between them is no layer of its own in vLLM's forward.
    _language("language-conv", "conv", "*_proj", conv_in="in_proj", conv_out="out_proj"),
)


class Lfm2Vl(EncoderTower):
    """A picture of up to about 512×512 pixels keeps its size, a larger one is cut into such tiles.

    All patches of a step are one row of rows: nothing is filled up.
    """

    name = "lfm2-vl"
    title = "LFM2-VL"
    older = ()  # came after transformers 4.51
    model_types = ("lfm2_vl",)
    published = ("lfm2-vl", "lfm2-vl-450m", "lfm2-vl-3b")
    repositories: ClassVar[Mapping[str, str]] = {
        "LiquidAI/LFM2-VL-1.6B": "lfm2-vl",
        "LiquidAI/LFM2-VL-450M": "lfm2-vl-450m",
        "LiquidAI/LFM2-VL-3B": "lfm2-vl-3b",
    }
    state = "partly"
    state_reason = (
        "a CPU turns positions wrongly, and vLLM ignores adapters of the blocks that convolve; "
        "with the fixes its core passes"
    )
    tower = "siglip2_vision_model"
    formulas: ClassVar[Mapping[str, str]] = {
        "encoder": "connector rows · downsample_factor²",
        "connector": "over tiles and thumbnail, or the picture: (h / (patch_size · "
        "downsample_factor)) · (w / (patch_size · downsample_factor)) of the resized one",
    }
    groups = GROUPS
    forms = peft_forms(
        GROUPS,
        wide=(
            *("patch-embedding", "tower-attention", "tower-mlp", "projector"),
            *("language-v_proj", "language-w2"),
        ),
        ranks={"q_proj": 2, "fc1": 4},
        alphas={"out_proj": 5, "fc2": 40},
        # The tower's second layer, and the first that attends of the language model.
        partial=(
            GROUPS["tower-attention"].target.replace("*", "1", 1),
            f"{_TEXT.replace('*', '1')}.self_attn.*_proj",
        ),
        ends=("linear_1", "linear_2"),
        ends_groups=("projector",),
    )
    good = GoodAdapter(adapter="tower-attention", plain="out_proj", outputs=64)
    base_predictors = text_predictors = (HEADS_AS_TOKENS,)
    # The convolution itself: vLLM reads its weights and never calls it as a layer.
    idle = r"language_model\.model\.layers\.\d+\.short_conv\.conv"
    packed: ClassVar[Mapping[str, str]] = {
        **{f"{name}_proj": "qkv_proj" for name in "qkv"},
        "w1": "w13",
        "w3": "w13",
    }
    sizes = Sizes(
        few=(480, 400),
        many=(1100, 550),
        small=((256, 256), (300, 200), (200, 330), (100, 60)),
    )
    special_tokens = miniature.SPECIAL_TOKENS
    vllm = VllmClass(module="lfm2_vl", name="Lfm2VLForConditionalGeneration")
    known_flows = known(name, (384, 256), "the published model card", image_tokens=96)
    prefix_cases: ClassVar[Mapping[str, str]] = {
        **EncoderTower.prefix_cases,
        "vision_tower.vision_model.embeddings.patch_embedding": TOWER,
        "language_model.model.layers.2.self_attn.out_proj": LANGUAGE,
        "language_model.model.layers.0.short_conv.in_proj": LANGUAGE,
        "language_model.model.layers.0.feed_forward.w13": LANGUAGE,
    }

    def layout(self, config: Mapping[str, Any], folder: Path | None) -> Any:
        """Nearly all of the image processor's file."""
        return layout_of(folder, config, vision_of(config, self.title))

    def published_layout(self, data: Mapping[str, Any]) -> Layout:
        """The image processor's settings are stored beside the config."""
        return layout_of(None, data["processor"], data["config"]["vision_config"])

    def flow(self, layout: Any, medium: Medium) -> Flow:
        """Markers: one before and one after a picture, one before each tile and the thumbnail."""
        rows, columns = layout.tiling(medium.width, medium.height)
        high, wide = layout.whole(medium.width, medium.height)
        cut = rows * columns if rows * columns > 1 else 0
        shown = not cut or layout.thumbnail
        tokens = cut * layout.tile_tokens + shown * high * wide
        return Flow(
            name=f"{medium.width}×{medium.height}",
            size=(medium.width, medium.height),
            rows={"encoder": tokens * layout.downsample_factor**2, "connector": tokens},
            tokens=tokens,
            prompt_tokens=tokens + 2 + (cut + shown if cut else 0),
            units=cut + shown,
            details={"tile_rows": rows, "tile_columns": columns},
            drawing=drawing(rows, columns, whole=bool(cut and shown)),
        )

    def describe(self, layout: Any) -> Sequence[str]:
        """The layout, and the rows of one tile."""
        shown = "and a thumbnail" if layout.thumbnail else "without a thumbnail"
        return (
            f"patch {layout.encoder_patch_size} / downsample {layout.downsample_factor}, "
            f"{layout.min_image_tokens} to {layout.max_image_tokens} tokens, or "
            f"{layout.min_tiles} to {layout.max_tiles} tiles {shown}",
            f"rows of one tile: {layout.tile_tokens * layout.downsample_factor**2} encoder, "
            f"{layout.tile_tokens} connector",
        )

    def miniature(self, config: Mapping[str, Any], layout: Any) -> dict[str, Any]:
        """See `miniature`."""
        return miniature.miniature_config(config)

    def side_files(self, layout: Any) -> dict[str, Any]:
        """See `miniature`."""
        return miniature.side_files(layout)

    def questions(self, layout: Any) -> Sequence[Sequence[Picture]]:
        """Every border of rounding, scaling and tiling, in both directions; then several."""
        tile, square = layout.tile_size, layout.square
        sizes = {
            "1x1": (1, 1),
            "square": (tile, tile),
            "half-even": (tile + square // 2, tile - square // 2),
            "most": (2 * tile, tile),
            "just-cut": (2 * tile + square, tile),
            "upright-cut": (tile, 2 * tile + square),
            "four-tiles": (2 * tile, 2 * tile),
            "nine-tiles": (3 * tile, 3 * tile),
            "between-grids": (5 * tile, 4 * tile),
            "small-of-its-shape": (724, 725),
            "large": (5000, 3001),
            "wide": (5120, 512),
            "upright": (400, 3200),
            "thin": (1000, 3),
            "upright-thin": (3, 1000),
            **by_size((256, 256), (100, 60), (384, 256)),
            **by_size(self.sizes.one, self.sizes.few, self.sizes.many),
        }
        together = (
            ("square", "480x400"),
            ("1100x550", "upright-cut", "1100x550"),
            ("1x1", "256x256", "gray", "turned"),
        )
        return questions(sizes, together, gray=(300, 150), rgba=(150, 400), turned=(1200, 500))

    def hook_cases(self, layout: Any) -> Sequence[HookCase]:
        """What each picture of the questions has, and several times as many; numbers of none."""
        alone = {flow.tokens for flow in self.alone(layout)}
        asked = {times * tokens for tokens in alone for times in (1, 2, 8)}
        right = [
            HookCase(
                label=f"{tokens} placeholders",
                tokens=tokens,
                tower=tokens * layout.downsample_factor**2,
                connector=tokens,
            )
            for tokens in sorted(asked)
        ]
        return [*right, *(HookCase(label=f"{n} image tokens", tokens=n) for n in (0, -1))]

    def predicted_coverage(self, found: Sequence[Any]) -> tuple[str, ...]:
        """`conv-adapters-ignored`: no layer uses the tensors of the blocks that convolve, and
        nothing else is wrong but their number."""
        tensors = [one for one in found if one.what == "layers that use it"]
        ignored = all(".conv." in one.where and one.observed == "none" for one in tensors)
        counted = all(one.what.endswith("per group") for one in found if one not in tensors)
        return (CONV_IGNORED,) if tensors and ignored and counted else ()

    def to_vllm(self, path: str) -> str:
        """vLLM tells the block that convolves from the convolution in it by another name."""
        return super().to_vllm(path).replace(".conv.", ".short_conv.")

    def from_vllm(self, path: str) -> str:
        """The other way round."""
        return super().from_vllm(path.replace(".short_conv.", ".conv."))


FAMILY = Lfm2Vl()
