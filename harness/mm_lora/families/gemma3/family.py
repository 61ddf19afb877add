"""Gemma 3: a SigLIP tower, whose rows are averaged 16 to one before a projection without LoRA."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

from mm_lora.families.family import VllmClass
from mm_lora.families.flow import known
from mm_lora.families.gemma3 import miniature
from mm_lora.families.gemma3.layout import TOWER as TOWER_TYPE
from mm_lora.families.gemma3.layout import Layout, layout_of
from mm_lora.families.llava.shared import PICTURES
from mm_lora.families.llava.towers import EncoderTower
from mm_lora.families.miniature import HALF
from mm_lora.families.modules import CONNECTOR

CAUSAL = "pictures-attended-causally"
UNPOOLED = "connector-rows-before-pooling"
_PROJECTOR = "multi_modal_projector."


def _outside_projector(cases: Mapping[str, str]) -> dict[str, str]:
    return {path: role for path, role in cases.items() if not path.startswith(_PROJECTOR)}


class Gemma3(EncoderTower):
    """Every picture is squeezed to one square. The rows of a picture see each other in the language
    model too, those behind them included.

    The projection is a bare parameter, no layer: neither PEFT's `target_modules` nor vLLM has LoRA
    for it, so that the connector takes no adapter.
    """

    name = "gemma3"
    title = "Gemma 3"
    model_types = ("gemma3",)
    published = ("gemma3", "gemma3-27b")
    repositories: ClassVar[Mapping[str, str]] = {
        "google/gemma-3-4b-it": "gemma3",
        "google/gemma-3-27b-it": "gemma3-27b",
    }
    tower = TOWER_TYPE
    image_token = miniature.IMAGE
    special_tokens = miniature.SPECIAL_TOKENS
    groups: ClassVar = {n: g for n, g in EncoderTower.groups.items() if g.role != CONNECTOR}
    forms = replace(
        EncoderTower.forms,
        wide=tuple(one for one in EncoderTower.forms.wide if _PROJECTOR not in one),
        ends=("fc1", "fc2"),
        ends_groups=("tower-mlp",),
    )
    formulas: ClassVar[Mapping[str, str]] = {
        "encoder": "p², p = image_size / patch_size: 4096",
        "connector": "mm_tokens_per_image, 256: averages of p² / 256 = 16 patches (Gemma 3, arXiv "
        "2503.19786)",
    }
    vllm = VllmClass(module="gemma3_mm", name="Gemma3ForConditionalGeneration")
    base_predictors = (CAUSAL,)
    prefix_cases: ClassVar[Mapping[str, str]] = {
        **_outside_projector(EncoderTower.prefix_cases),
        f"{_PROJECTOR}mm_soft_emb_norm": CONNECTOR,
    }
    known_flows = (
        *known(
            name,
            (896, 896),
            "Gemma 3 Technical Report (arXiv 2503.19786), section 2.1",
            image_tokens=256,
        ),
        *known(
            name,
            (700, 400),
            "vLLM issue 32758: 16 tower rows for each image token",
            encoder_rows=4096,
        ),
    )

    def layout(self, config: Mapping[str, Any], folder: Path | None) -> Layout:
        """All of config.json; the processor's files, where there are any, must say the same."""
        return layout_of(config, folder)

    def markers(self, grid: tuple[int, int]) -> int:
        """Start and end, and the line breaks behind. Those before join the line break that the
        chat template has there, or the ones behind the picture before: one token either way."""
        return 3

    def miniature(self, config: Mapping[str, Any], layout: Any) -> dict[str, Any]:
        """See `miniature`."""
        return miniature.miniature_config(config, layout)

    def side_files(self, layout: Any) -> dict[str, Any]:
        """See `miniature`."""
        side = layout.image_size
        settings = {
            **PICTURES,
            "image_processor_type": "Gemma3ImageProcessor",
            "do_pan_and_scan": None,
            "image_mean": HALF,
            "image_std": HALF,
            "image_seq_length": layout.pooled,
            "resample": 2,
            "size": {"height": side, "width": side},
        }
        return miniature.side_files(layout, settings)

    def role_of_path(self, path: str) -> str | None:
        """The projector's too, which is in no group."""
        return CONNECTOR if path.startswith(_PROJECTOR) else super().role_of_path(path)

    def predicted_rows(self, layout: Layout, found: Sequence[Any]) -> tuple[str, ...]:
        """`connector-rows-before-pooling`: the connector's rows alone are wrong, each number the
        tower's."""
        ratio = layout.encoder_rows(layout.grid(1, 1)) // layout.pooled
        same = [
            one.what == "connector rows" and one.observed == ratio * one.expected for one in found
        ]
        return (UNPOOLED,) if same and all(same) else ()


FAMILY = Gemma3()
