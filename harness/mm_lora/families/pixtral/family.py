"""Pixtral: LLaVA with other names in files and in vLLM, words and pixels by mistral-common."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

from mm_lora.core.asking import Medium
from mm_lora.families.family import VllmClass
from mm_lora.families.flow import Flow, HookCase, known
from mm_lora.families.forms import peft_forms
from mm_lora.families.llava_pixtral.family import LlavaPixtral
from mm_lora.families.modules import CONNECTOR, LANGUAGE, TOWER
from mm_lora.families.pictures import Picture, by_size, questions
from mm_lora.families.pixtral import miniature
from mm_lora.families.pixtral.layout import TEKKEN, layout_of

HALVES = "tower-halves-not-paired"
"""Predictor: the halves of transformers' q and k taken for the pairs that Mistral's files have."""


GROUPS = LlavaPixtral.groups


class Pixtral(LlavaPixtral):
    """Adapters have transformers' names; vLLM's class has others, and its tower's q and k have the
    two parts of each rotation side by side, where transformers has them in halves."""

    name = "pixtral"
    title = "Pixtral"
    model_types = ("pixtral",)
    published = ("pixtral",)
    repositories: ClassVar[Mapping[str, str]] = {}
    state = "partly"
    state_reason = (
        "vLLM gives adapters of the tower's q and k to the wrong rows of each head; with the fixes "
        "its core passes"
    )
    merges: ClassVar[bool] = False
    """Whether a layer before the projector merges neighbouring patches."""
    tekken_version: ClassVar[str] = "v3"
    groups = GROUPS
    # Without what has a known defect: q and k of the tower, and the layer that merges.
    forms = peft_forms(
        GROUPS,
        wide=(
            *("tower-v_proj", "tower-o_proj", "tower-mlp", "projector"),
            *("language-v_proj", "language-down_proj"),
        ),
        ranks={"v_proj": 2, "down_proj": 4},
        alphas={"o_proj": 5, "down_proj": 40},
        partial=(
            GROUPS["tower-mlp"].target.replace("*", "1", 1),
            "model.language_model.layers.2.self_attn.[vo]_proj",
        ),
        packed=("language-q_proj", "language-v_proj"),
        ends=("linear_1", "linear_2"),
        ends_groups=("projector",),
    )
    special_tokens = miniature.SPECIAL_TOKENS
    vllm = VllmClass(module="pixtral", name="PixtralForConditionalGeneration")
    flags: ClassVar[Mapping[str, str | bool]] = {
        "tokenizer-mode": "mistral",
        "config-format": "mistral",
        "load-format": "mistral",
    }
    prefixes: ClassVar[tuple[tuple[str, str], ...]] = (
        ("model.language_model.", "language_model.model."),
        ("model.vision_tower.", "vision_encoder."),
        ("model.multi_modal_projector.linear_1", "vision_language_adapter.w_in"),
        ("model.multi_modal_projector.linear_2", "vision_language_adapter.w_out"),
        ("lm_head", "language_model.lm_head"),
    )
    predictors: ClassVar[tuple[str, ...]] = (HALVES,)
    predicted_roles: ClassVar[tuple[str, ...]] = (TOWER,)
    prefix_cases: ClassVar[Mapping[str, str]] = {
        "vision_encoder.transformer.layers.23.attention.qkv_proj": TOWER,
        "vision_encoder.transformer.layers.0.attention.o_proj": TOWER,
        "vision_encoder.transformer.layers.0.feed_forward.gate_up_proj": TOWER,
        "vision_language_adapter.w_in": CONNECTOR,
        "vision_language_adapter.w_out": CONNECTOR,
        "language_model.model.layers.23.self_attn.qkv_proj": LANGUAGE,
    }
    known_flows = known(
        name,
        (1024, 1024),
        "the published tower: 1024 pixels a side at most, patches of 16",
        image_tokens=64 * 64,
        prompt_tokens=64 * 65,
    )

    def layout(self, config: Mapping[str, Any], folder: Path | None) -> Any:
        """All of params.json; tekken.json must say the same."""
        return layout_of(config, folder, merges=self.merges)

    def flow(self, layout: Any, medium: Medium) -> Flow:
        """[IMG_BREAK] after each row of placeholders, after the last one [IMG_END]."""
        rows, columns = layout.grid(medium.width, medium.height)
        tokens = rows * columns
        return Flow(
            name=f"{medium.width}×{medium.height}",
            size=(medium.width, medium.height),
            rows={"encoder": layout.patches((rows, columns)), "connector": tokens},
            tokens=tokens,
            prompt_tokens=tokens + rows,
            details={"grid_height": rows * layout.merge, "grid_width": columns * layout.merge},
        )

    def describe(self, layout: Any) -> Sequence[str]:
        """The layout, and the tower's rows."""
        return (
            f"at most {layout.largest} pixels a side, patch {layout.patch_size} / "
            f"merge {layout.merge}, any shape",
            f"{layout.merge**2} tower rows a placeholder, one row of the projector",
        )

    def miniature(self, config: Mapping[str, Any], layout: Any) -> dict[str, Any]:
        """See `miniature`."""
        return miniature.miniature_config(config)

    def side_files(self, layout: Any) -> dict[str, Any]:
        """The tokenizer; `files` has the others."""
        return {TEKKEN: miniature.tekken(layout, self.tekken_version)}

    def files(self, small: Mapping[str, Any], layout: Any) -> dict[str, Any]:
        """params.json too, which vLLM reads in the place of config.json."""
        return {
            "params.json": small["params"],
            "tokenizer.json": None,
            **self.side_files(layout),
        }

    def questions(self, layout: Any) -> Sequence[Sequence[Picture]]:
        """Every border of size and patch alone, in both directions; then several in one prompt."""
        side, unit = layout.largest, layout.patch_size * layout.merge
        sizes = {
            "1x1": (1, 1),
            "one-unit": (unit, unit),
            "over-a-unit": (unit + 1, unit - 1),
            "square": (side, side),
            "under-square": (side - 1, side),
            "over-square": (side, side + 1),
            "wide": (side, unit),
            "over-wide": (side + 1, 5 * unit),
            "upright": (unit, side),
            "thin": (side, 1),
            "vanishing": (4 * side, 1),
            "half-a-pixel": (2 * side, 2 * unit + 1),
            "large": (5000, 3001),
            "twice": (2 * side, side),
            "rounded": (3 * side + 1, 2 * side + 1),
            **by_size((100, 60), (337, 336), (300, 400), (336, 336), (700, 400)),
        }
        together = (
            ("square", "300x400"),
            ("700x400", "upright", "700x400"),
            ("1x1", "wide", "gray", "turned"),
        )
        return questions(sizes, together, gray=(2 * unit, unit), rgba=(unit, 3 * unit))

    def hook_cases(self, layout: Any) -> Sequence[HookCase]:
        """What each picture of the questions has, alone and several times; numbers of none."""
        counts = {n * flow.tokens for flow in self.alone(layout) for n in (1, 2, 8)}
        right = [
            HookCase(
                label=f"{count} placeholders",
                tokens=count,
                tower=count * layout.merge**2,
                connector=count,
            )
            for count in sorted(counts)
        ]
        return [*right, *(HookCase(label=f"{n} image tokens", tokens=n) for n in (0, -1))]


FAMILY = Pixtral()
