"""PaliGemma: a SigLIP tower, each of whose rows one linear layer makes a placeholder."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

from mm_lora.core.errors import UsageError
from mm_lora.families.family import VllmClass
from mm_lora.families.flow import known
from mm_lora.families.image_processor import require_same
from mm_lora.families.layouts import vision_of
from mm_lora.families.llava.layout import Layout, require_size
from mm_lora.families.llava.shared import PICTURES
from mm_lora.families.llava.towers import EncoderTower
from mm_lora.families.modules import CONNECTOR, ModuleGroup
from mm_lora.families.paligemma import miniature
from mm_lora.families.pictures import Picture

CAUSAL = "pictures-attended-causally"
TEXT_CAUSAL = "prompt-text-attended-causally"
_PROJECTION = "multi_modal_projector.linear"
_REPORT = "PaliGemma, arXiv 2407.07726"


class PaliGemma(EncoderTower):
    """Every picture is squeezed to one square, and there is one in a prompt. The prompt sees all of
    itself in the language model, texts behind a row included; the answer sees what is before it.
    """

    name = "paligemma"
    title = "PaliGemma"
    model_types = ("paligemma",)
    published = ("paligemma", "paligemma-448")
    repositories: ClassVar[Mapping[str, str]] = {
        **{f"google/paligemma-3b-{kind}-224": "paligemma" for kind in ("pt", "mix")},
        **{f"google/paligemma-3b-{kind}-448": "paligemma-448" for kind in ("pt", "mix")},
    }
    state = "partly"
    state_reason = (
        "vLLM refuses adapters of its projector, and no prompt sees all of itself; with the fixes "
        "its core passes and its mutants are killed"
    )
    tower = "siglip_vision_model"
    assumed: ClassVar[Mapping[str, int]] = {"image_size": 224, "patch_size": 16}
    image_token = miniature.IMAGE
    special_tokens = miniature.SPECIAL_TOKENS
    limits: ClassVar[Mapping[str, int]] = {"image": 1}
    # A wide picture, squeezed, moves the answers of the miniature's adapters too little.
    sizes = replace(EncoderTower.sizes, many=(480, 640))
    groups: ClassVar = {
        **EncoderTower.groups,
        "projector": ModuleGroup(
            name="projector",
            pattern=r"model\.multi_modal_projector\.linear",
            role=CONNECTOR,
            rows="connector",
            target=f"model.{_PROJECTION}",
        ),
    }
    forms = replace(
        EncoderTower.forms,
        # Not the projector, see known_defects.toml.
        wide=tuple(one for one in EncoderTower.forms.wide if "projector" not in one),
        ends=("fc1", "fc2"),
        ends_groups=("tower-mlp",),
    )
    formulas: ClassVar[Mapping[str, str]] = {
        "encoder": f"p², p = image_size / patch_size: 256 or 1024 ({_REPORT})",
        "connector": f"p²: a linear projection of each ({_REPORT})",
    }
    vllm = VllmClass(module="paligemma", name="PaliGemmaForConditionalGeneration")
    base_predictors = (CAUSAL, TEXT_CAUSAL)
    prefix_cases: ClassVar[Mapping[str, str]] = {
        **{p: r for p, r in EncoderTower.prefix_cases.items() if r != CONNECTOR},
        _PROJECTION: CONNECTOR,
    }
    known_flows = (
        *known("paligemma", (224, 224), _REPORT, image_tokens=256),
        *known("paligemma-448", (448, 448), _REPORT, image_tokens=1024),
    )

    def layout(self, config: Mapping[str, Any], folder: Path | None) -> Layout:
        """All of config.json; the image processor, where there is one, must say the same."""
        vision = vision_of(config, self.title)
        kind = vision.get("model_type", self.tower)
        if kind != self.tower:
            raise UsageError(f"the tower is a {kind!r}, which no PaliGemma has", "vision_config")
        layout = Layout(**{key: vision.get(key, value) for key, value in self.assumed.items()})
        rows = layout.connector_rows(layout.grid(1, 1))
        said = vision.get("num_image_tokens", rows)
        if said != rows:
            raise UsageError(
                f"num_image_tokens is {said!r}; the tower has {rows} patches",
                "image_size, patch_size and num_image_tokens of vision_config",
            )
        if folder is not None:
            require_size(folder, layout.image_size)
            require_same(folder, {"image_seq_length": rows})
        return layout

    def markers(self, grid: tuple[int, int]) -> int:
        """The start of the text behind the picture, and the line break that ends the prompt: a text
        alone has neither."""
        return 2

    def miniature(self, config: Mapping[str, Any], layout: Layout) -> dict[str, Any]:
        """See `miniature`."""
        return miniature.miniature_config(config, layout)

    def side_files(self, layout: Layout) -> dict[str, Any]:
        """See `miniature`."""
        return miniature.side_files(layout, PICTURES)

    def questions(self, layout: Layout) -> Sequence[Sequence[Picture]]:
        """One picture in each prompt."""
        return [prompt for prompt in super().questions(layout) if len(prompt) == 1]


FAMILY = PaliGemma()
