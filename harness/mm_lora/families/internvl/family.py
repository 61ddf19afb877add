"""InternVL: tiles of one size with a class token each, pixel shuffle, an MLP as connector."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

from mm_lora.core.asking import Medium
from mm_lora.families.family import Family, Sizes, VllmClass
from mm_lora.families.flow import Flow, HookCase, known
from mm_lora.families.forms import peft_forms
from mm_lora.families.image_processor import stored_settings
from mm_lora.families.internvl import miniature
from mm_lora.families.internvl.layout import Layout, layout_of
from mm_lora.families.modules import CONNECTOR, LANGUAGE, TOWER, by_name, language_model, siblings
from mm_lora.families.pictures import Picture, by_size, questions

_VISION = "vision_model.encoder.layers.*"
_MARKERS = 2
"""`<img>` and `</img>`."""

GROUPS = by_name(
    # Not the dropout and the norms beside them.
    siblings("tower-attention", f"{_VISION}.attn", ("qkv", "proj"), "[qp]*[vj]"),
    siblings("tower-mlp", f"{_VISION}.mlp", ("fc1", "fc2"), "fc?"),
    # The patch embedding is a convolution, for which vLLM has no LoRA layer: in no group.
    # nn.Sequential numbers its layers: a norm, a Linear, GELU, a Linear.
    siblings("connector", "mlp1", ("1", "3"), "[13]", role=CONNECTOR, rows="connector"),
    language_model("language_model.model.layers.*"),
)


class InternVl(Family):
    """A picture becomes the grid of tiles that is nearest to its shape, and a thumbnail after them.

    Paths are those of the published checkpoints' own class, for which adapters are trained: vLLM's
    are the same, those of transformers' own InternVL are not.
    """

    name = "internvl"
    title = "InternVL"
    model_types = ("internvl_chat",)
    published = ("internvl", "internvl-38b")
    repositories: ClassVar[Mapping[str, str]] = {
        "OpenGVLab/InternVL3-8B": "internvl",
        "OpenGVLab/InternVL3-38B": "internvl-38b",
    }
    state = "partly"
    state_reason = "vLLM refuses adapters of its connector"
    groups = GROUPS
    formulas: ClassVar[Mapping[str, str]] = {
        "encoder": "tiles · (p² + 1), p = image_size / patch_size: patches and a class token",
        "connector": "tiles · p² · downsample_ratio² (vLLM pull request 32397)",
    }
    forms = peft_forms(
        GROUPS,
        # Not the connector, see known_defects.toml.
        wide=("tower-attention", "tower-mlp", "language-model"),
        ranks={"qkv": 2, "fc1": 4},
        alphas={"o_proj": 5, "fc2": 40},
        ends=("fc1", "fc2"),
        ends_groups=("tower-mlp",),
    )
    sizes = Sizes(
        one=(336, 336),
        few=(400, 200),
        many=(450, 300),
        small=((64, 64), (80, 76), (60, 64), (100, 96)),
        labels={"one": "1-tile", "few": "3-tiles", "many": "7-tiles"},
        unit="tile",
    )
    special_tokens = miniature.SPECIAL_TOKENS
    vllm = VllmClass(module="internvl", name="InternVLChatModel")
    # The config class lies beside the checkpoint: transformers and vLLM have none of this type.
    flags: ClassVar[Mapping[str, str | bool]] = {"trust-remote-code": True}
    # The tokenizer has a token for videos, for which vLLM would keep room.
    limits: ClassVar[Mapping[str, int]] = {"image": 4, "video": 0}
    known_flows = (
        *known("internvl", (448, 448), "a printed run of InternVL3-1B", encoder_rows=1025),
        *known(
            "internvl", (448, 448), "vLLM pull request 48129, of the same tiles", connector_rows=256
        ),
    )
    prefix_cases: ClassVar[Mapping[str, str]] = {
        "vision_model.encoder.layers.23.attn.qkv": TOWER,
        "vision_model.encoder.layers.0.attn.proj": TOWER,
        "vision_model.encoder.layers.0.mlp.fc2": TOWER,
        "mlp1.1": CONNECTOR,
        "mlp1.3": CONNECTOR,
        "language_model.model.layers.27.self_attn.qkv_proj": LANGUAGE,
    }

    def layout(self, config: Mapping[str, Any], folder: Path | None) -> Layout:
        """All in config.json: vLLM's processor reads no other file. A damaged one is said."""
        for _ in stored_settings(folder) if folder else ():
            pass
        return layout_of(config)

    def flow(self, layout: Layout, medium: Medium) -> Flow:
        """A picture's: one pair of markers around all of its tiles."""
        return layout.flow(medium, _MARKERS)

    def describe(self, layout: Layout) -> Sequence[str]:
        """The layout, and the rows of one tile."""
        whole = ", and a thumbnail of a cut picture" if layout.thumbnail else ""
        return (
            f"image_size {layout.image_size} / patch_size {layout.patch_size} / downsample_ratio "
            f"{layout.downsample_ratio}, {layout.min_tiles} to {layout.max_tiles} tiles{whole}",
            layout.rows_of_a_tile,
        )

    def miniature(self, config: Mapping[str, Any], layout: Layout) -> dict[str, Any]:
        """See `miniature`."""
        return miniature.miniature_config(config)

    def side_files(self, layout: Layout) -> dict[str, Any]:
        """See `miniature`."""
        return miniature.side_files()

    def questions(self, layout: Layout) -> Sequence[Sequence[Picture]]:
        """Shapes alone, with every border of the tiling; then several pictures in one prompt."""
        tile = layout.image_size
        sizes = {
            "1x1": (1, 1),
            "one-tile": (tile, tile),
            "half-of-four": (round(2**0.5 * tile), round(2**0.5 * tile)),
            "over-half-of-four": (round(2**0.5 * tile) + 1, round(2**0.5 * tile) + 1),
            "over-half-of-nine": (3 * tile, 3 * tile),
            "four-thirds": (400, 300),
            "three-quarters": (300, 400),
            "three-halves": (450, 300),
            "wide-small": (2 * tile, tile),
            "wide-large": (4 * tile, 2 * tile),
            "high-large": (2 * tile, 4 * tile),
            "between-five-and-six": (550, 100),
            "between-five-and-six-large": (11 * tile, 2 * tile),
            "strip": (12 * tile, tile),
            "thin": (1000, 3),
            "upright-thin": (3, 1000),
            "nearly-square": (100, 88),
            "large": (4001, 3001),
            **by_size(self.sizes.one, self.sizes.few, *self.sizes.small, (700, 400)),
        }
        together = (
            ("one-tile", "400x200"),
            ("700x400", "strip", "700x400"),
            ("1x1", "thin", "gray", "turned"),
        )
        return questions(sizes, together, gray=(2 * tile, tile), rgba=(tile, 3 * tile))

    def hook_cases(self, layout: Layout) -> Sequence[HookCase]:
        """Every number of tiles up to one more than a picture has; numbers that none has."""
        return layout.hook_cases(layout.most_tiles + 1)


FAMILY = InternVl()
