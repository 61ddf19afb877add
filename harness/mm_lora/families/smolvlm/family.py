"""SmolVLM and Idefics3: one class of vLLM's, tiles of one size, pixel shuffle, one projection."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

from mm_lora.core.asking import Medium
from mm_lora.families.family import Family, Sizes, VllmClass
from mm_lora.families.flow import Flow, HookCase, known
from mm_lora.families.forms import peft_forms
from mm_lora.families.modules import (
    CONNECTOR,
    LANGUAGE,
    TOWER,
    ModuleGroup,
    by_name,
    language_model,
    siblings,
)
from mm_lora.families.pictures import Picture, by_size, questions
from mm_lora.families.smolvlm import miniature
from mm_lora.families.smolvlm.layout import Layout, layout_of

ROUNDED = "patch-positions-rounded"
_VISION = "model.vision_model.encoder.layers.*"
_ATTENTION = ("q_proj", "k_proj", "v_proj", "out_proj")

GROUPS = by_name(
    siblings("tower-attention", f"{_VISION}.self_attn", _ATTENTION, "*_proj"),
    siblings("tower-mlp", f"{_VISION}.mlp", ("fc1", "fc2"), "fc?"),
    # The patch embedding is a convolution, for which vLLM has no LoRA layer: in no group.
    ModuleGroup(
        name="connector",
        pattern=r"model\.connector\.modality_projection\.proj",
        role=CONNECTOR,
        rows="connector",
        target="model.connector.modality_projection.proj",
    ),
    language_model("model.text_model.layers.*"),
)


class SmolVlm(Family):
    """A picture is resized to a longest edge, cut into tiles, and shown once more as a whole.

    Its longer side always has as many tiles as the longest edge: four on every published model.
    """

    name = "smolvlm"
    title = "SmolVLM and Idefics3"
    # SmolVLM's own class in vLLM is a subclass; its processor needs num2words: see `miniature`.
    model_types = ("idefics3", "smolvlm")
    published = ("smolvlm", "idefics3", "smolvlm-256m")
    repositories: ClassVar[Mapping[str, str]] = {
        "HuggingFaceTB/SmolVLM-Instruct": "smolvlm",
        "HuggingFaceM4/Idefics3-8B-Llama3": "idefics3",
        "HuggingFaceTB/SmolVLM-256M-Instruct": "smolvlm-256m",
    }
    groups = GROUPS
    formulas: ClassVar[Mapping[str, str]] = {
        "encoder": "tiles · ⌊image_size / patch_size⌋², the tile of the whole picture among them",
        "connector": "encoder rows / scale_factor² (Idefics3, arXiv 2408.12637)",
    }
    forms = peft_forms(
        GROUPS,
        ranks={"q_proj": 2, "fc1": 4},
        alphas={"out_proj": 5, "fc2": 40},
        ends=("fc1", "fc2"),
        ends_groups=("tower-mlp",),
    )
    piece = 1024  # A picture of role `one` has 422 tokens: 512 hold one alone.
    sizes = Sizes(
        one=(336, 84),
        few=(400, 200),
        many=(400, 300),
        small=((192, 48), (256, 64), (48, 192), (240, 60)),
        labels={"one": "5-tiles", "few": "9-tiles", "many": "13-tiles"},
        unit="strip",
    )
    special_tokens = miniature.SPECIAL_TOKENS
    vllm = VllmClass(module="idefics3", name="Idefics3ForConditionalGeneration")
    text_part = "text_model."
    logits = "lm_head"
    base_predictors = (ROUNDED,)
    known_flows = known("smolvlm", (1536, 1536), "vLLM's own test of SmolVLM", image_tokens=1377)
    prefix_cases: ClassVar[Mapping[str, str]] = {
        "model.vision_model.encoder.layers.26.self_attn.qkv_proj": TOWER,
        "model.vision_model.encoder.layers.0.self_attn.out_proj": TOWER,
        "model.vision_model.encoder.layers.0.mlp.fc2": TOWER,
        "model.connector.modality_projection.proj": CONNECTOR,
        "model.text_model.layers.23.self_attn.qkv_proj": LANGUAGE,
    }

    def layout(self, config: Mapping[str, Any], folder: Path | None) -> Layout:
        """Tile, patch, scale factor; longest edge and splitting from the image processor."""
        return layout_of(config, folder)

    def published_layout(self, data: Mapping[str, Any]) -> Layout:
        """The longest edge is the image processor's, stored beside the config."""
        return layout_of(data["config"], None, data["longest_edge"])

    def flow(self, layout: Layout, medium: Medium) -> Flow:
        """Markers: `<fake…>` and `<row_r_col_c>` before each tile, a line break after each row and
        one more before the whole picture, whose tile has `<fake…><global-img>` before and
        `<fake…>` after it."""
        rows, columns = layout.tiling(medium.width, medium.height)
        cut = rows * columns
        return layout.flow(medium, 3 if cut == 1 else 2 * cut + rows + 4)

    def describe(self, layout: Layout) -> Sequence[str]:
        """The layout, and the rows of one tile."""
        cut = f"cut at a longest edge of {layout.longest_edge}" if layout.splits else "never cut"
        return (
            f"image_size {layout.image_size} / patch_size {layout.patch_size} / "
            f"scale_factor {layout.scale_factor}, {cut}",
            layout.rows_of_a_tile,
        )

    def miniature(self, config: Mapping[str, Any], layout: Layout) -> dict[str, Any]:
        """See `miniature`."""
        return miniature.miniature_config(config, layout)

    def side_files(self, layout: Layout) -> dict[str, Any]:
        """See `miniature`."""
        return miniature.side_files(layout)

    def questions(self, layout: Layout) -> Sequence[Sequence[Picture]]:
        """Every border of the tiling alone, in both directions; then several in one prompt."""
        tile, edge = layout.image_size, layout.longest_edge
        sizes = {
            "1x1": (1, 1),
            "exact-strip": (edge, tile),
            "just-two-strips": (edge, tile + 1),
            "exact-two-strips": (edge, 2 * tile),
            "just-three-strips": (edge, 2 * tile + 1),
            "just-four-strips": (edge, 3 * tile + 1),
            "upright-strip": (tile, edge),
            "upright-two-strips": (tile + 1, edge),
            "one-over-square": (edge, edge + 1),
            "square": (edge, edge),
            "one-tile": (tile, tile),
            "thin": (1000, 3),
            "upright-thin": (3, 1000),
            "large": (5000, 3001),
            **by_size(self.sizes.one, self.sizes.few, self.sizes.many),
            **by_size((100, 60), (700, 400), (337, 84)),
        }
        together = (
            ("exact-strip", "400x200"),
            ("700x400", "upright-strip", "700x400"),
            ("1x1", "thin", "gray", "turned"),
        )
        return questions(sizes, together, gray=(2 * tile, tile), rgba=(tile, 3 * tile))

    def hook_cases(self, layout: Layout) -> Sequence[HookCase]:
        """Every number of tiles up to one row more than a square has; numbers that none has."""
        square = layout.tiling(1, 1)
        return layout.hook_cases((square[0] + 1) * square[1] + 1)

    def role_of_path(self, path: str) -> str | None:
        """The language model lies under another name than elsewhere."""
        return LANGUAGE if path.startswith("model.text_model.") else None


FAMILY = SmolVlm()
