"""SmolVLM and Idefics3: one class of vLLM's, tiles of one size, pixel shuffle, one projection."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

from mm_lora.core.asking import Medium
from mm_lora.families.family import Family, GoodAdapter, PeftForms, Sizes, VllmClass
from mm_lora.families.flow import Flow, HookCase, KnownFlow
from mm_lora.families.modules import CONNECTOR, LANGUAGE, PROMPT, TOWER, ModuleGroup, by_name
from mm_lora.families.pictures import TURNED, Picture, prompts
from mm_lora.families.smolvlm import miniature
from mm_lora.families.smolvlm.layout import Layout, layout_of
from mm_lora.families.tiles import drawing, hook_cases

ROUNDED = "patch-positions-rounded"
_VISION, _TEXT = "model.vision_model.encoder.layers.*", "model.text_model.layers.*"
_VISION_LAYER = r"model\.vision_model\.encoder\.layers\.\d+"
_MLP = ("gate", "up", "down")

GROUPS = by_name(
    ModuleGroup(
        name="tower-attention",
        pattern=rf"{_VISION_LAYER}\.self_attn\.([qkv]|out)_proj",
        role=TOWER,
        rows="encoder",
        target=f"{_VISION}.self_attn.*_proj",
        projections={
            f"tower-{p}_proj": f"{_VISION}.self_attn.{p}_proj" for p in ("q", "k", "v", "out")
        },
    ),
    ModuleGroup(
        name="tower-mlp",
        pattern=rf"{_VISION_LAYER}\.mlp\.fc[12]",
        role=TOWER,
        rows="encoder",
        target=f"{_VISION}.mlp.fc?",
        projections={f"tower-fc{n}": f"{_VISION}.mlp.fc{n}" for n in "12"},
    ),
    # The patch embedding is a convolution, for which vLLM has no LoRA layer: in no group.
    ModuleGroup(
        name="connector",
        pattern=r"model\.connector\.modality_projection\.proj",
        role=CONNECTOR,
        rows="connector",
        target="model.connector.modality_projection.proj",
    ),
    ModuleGroup(
        name="language-model",
        pattern=r"model\.text_model\.layers\.\d+\."
        r"(self_attn\.[qkvo]_proj|mlp\.(gate|up|down)_proj)",
        role=LANGUAGE,
        rows=PROMPT,
        target=f"{_TEXT}.*_proj",
        projections={
            **{f"language-{p}_proj": f"{_TEXT}.self_attn.{p}_proj" for p in "qkvo"},
            **{f"language-{p}_proj": f"{_TEXT}.mlp.{p}_proj" for p in _MLP},
        },
    ),
)
_LANGUAGE = GROUPS["language-model"].projections


def _known(model: str, size: tuple[int, int], source: str, **numbers: int) -> list[KnownFlow]:
    return [
        KnownFlow(model=model, width=size[0], height=size[1], quantity=q, value=v, source=source)
        for q, v in numbers.items()
    ]


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
    mapped: ClassVar[Mapping[str, str]] = {TOWER: "encoder", CONNECTOR: "connector"}
    formulas: ClassVar[Mapping[str, str]] = {
        "encoder": "tiles · ⌊image_size / patch_size⌋², the tile of the whole picture among them",
        "connector": "encoder rows / scale_factor² (Idefics3, arXiv 2408.12637)",
    }
    forms = PeftForms(
        wide=(
            *(GROUPS[name].target for name in ("tower-attention", "tower-mlp", "connector")),
            _LANGUAGE["language-v_proj"],
            _LANGUAGE["language-down_proj"],
        ),
        ranks={"q_proj": 2, "fc1": 4},
        alphas={"out_proj": 5, "fc2": 40},
        partial=(
            "model.vision_model.encoder.layers.1.self_attn.*_proj",
            "model.text_model.layers.2.self_attn.[vo]_proj",
        ),
        part_of_packed=(f"{_VISION}.self_attn.q_proj", f"{_VISION}.self_attn.v_proj"),
        ends=("fc1", "fc2"),
        ends_groups=("tower-mlp",),
    )
    good = GoodAdapter(
        adapter="language-attention",
        parent="self_attn",
        fused="v_proj",
        plain="o_proj",
        outputs=128,
    )
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
    known_flows = (
        *_known("smolvlm", (1536, 1536), "vLLM's own test of SmolVLM", image_tokens=1377),
    )
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
        cut = rows * columns if layout.splits and rows * columns > 1 else 0
        tiles = cut + 1
        tokens = tiles * layout.connector_rows
        return Flow(
            name=f"{medium.width}×{medium.height}",
            size=(medium.width, medium.height),
            rows={"encoder": tiles * layout.encoder_rows, "connector": tokens},
            tokens=tokens,
            prompt_tokens=tokens + 2 * cut + (rows + 1 if cut else 0) + 3,
            units=tiles,
            details={"tile_rows": rows, "tile_columns": columns, "tiles": tiles},
            drawing=drawing(rows, columns, whole=cut > 0),
        )

    def describe(self, layout: Layout) -> Sequence[str]:
        """The layout, and the rows of one tile."""
        cut = f"cut at a longest edge of {layout.longest_edge}" if layout.splits else "never cut"
        return (
            f"image_size {layout.image_size} / patch_size {layout.patch_size} / "
            f"scale_factor {layout.scale_factor}, {cut}",
            f"rows of one tile: {layout.encoder_rows} encoder, {layout.connector_rows} connector",
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
            **{f"{w}x{h}": (w, h) for w, h in (self.sizes.one, self.sizes.few, self.sizes.many)},
            "100x60": (100, 60),
            "700x400": (700, 400),
            "337x84": (337, 84),
        }
        seen = {name: Picture(name, *size) for name, size in sizes.items()}
        seen["gray"] = Picture("gray", 2 * tile, tile, mode="L")
        seen["rgba"] = Picture("rgba", tile, 3 * tile, mode="RGBA")
        seen["turned"] = Picture("turned", 300, 100, orientation=TURNED)
        together = (
            ("exact-strip", "400x200"),
            ("700x400", "upright-strip", "700x400"),
            ("1x1", "thin", "gray", "turned"),
        )
        return prompts(seen, together)

    def hook_cases(self, layout: Layout) -> Sequence[HookCase]:
        """Every number of tiles up to one row more than a square has; numbers that none has."""
        square = layout.tiling(1, 1)
        most = (square[0] + 1) * square[1] + 1
        return hook_cases(layout.encoder_rows, layout.connector_rows, most)

    def role_of_path(self, path: str) -> str | None:
        """The language model lies under another name than elsewhere."""
        return LANGUAGE if path.startswith("model.text_model.") else None


FAMILY = SmolVlm()
