"""`LlavaFamily`: what the families of LLaVA's class have in common, whatever their tower."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

from mm_lora.core.asking import Medium
from mm_lora.families.family import Family, PeftForms, Sizes, VllmClass
from mm_lora.families.flow import Flow, HookCase
from mm_lora.families.forms import peft_forms
from mm_lora.families.llava import miniature
from mm_lora.families.llava.layout import Layout, layout_of, require_size
from mm_lora.families.miniature import PICTURES as USUAL
from mm_lora.families.modules import (
    CONNECTOR,
    LANGUAGE,
    ModuleGroup,
    by_name,
    language_model,
    siblings,
)
from mm_lora.families.pictures import Picture, by_size, questions

PICTURES = {
    **USUAL,
    "do_convert_rgb": True,
    "image_mean": [0.48145466, 0.4578275, 0.40821073],
    "image_std": [0.26862954, 0.26130258, 0.27577711],
    "resample": 3,
}
"""Settings of every image processor here."""


def groups(
    layers: str, pattern: str, attention: Sequence[str], mlp: Sequence[str]
) -> Mapping[str, ModuleGroup]:
    """The module groups. `layers`: a glob of the tower's, `pattern`: the same as an expression;
    `attention`, `mlp`: paths in a layer, the last name of each naming its adapter."""

    def tower(name: str, paths: Sequence[str]) -> ModuleGroup:
        parent = paths[0].rpartition(".")[0]
        ends = [path.rpartition(".")[2] for path in paths]
        # Not a bare star: the activation lies beside them.
        glob = "*_proj" if ends[0].endswith("_proj") else "fc?"
        return siblings(name, f"{layers}.{parent}", ends, glob, within=rf"{pattern}\.{parent}")

    # The patch embedding is a convolution, for which vLLM has no LoRA layer: in no group.
    return by_name(
        tower("tower-attention", attention),
        tower("tower-mlp", mlp),
        siblings(
            "projector",
            "model.multi_modal_projector",
            ("linear_1", "linear_2"),
            "linear_?",
            role=CONNECTOR,
            rows="connector",
            drop="linear_",
        ),
        language_model("model.language_model.layers.*"),
    )


def forms(known: Mapping[str, ModuleGroup], last: str, mlp: str) -> PeftForms:
    """What PEFT configurations speak of. `last`: the end of the attention's last projection,
    `mlp`: of one in the MLP."""
    return peft_forms(
        known,
        ranks={"q_proj": 2, mlp: 4},
        alphas={last: 5, mlp: 40},
        ends=("linear_1", "linear_2"),
        ends_groups=("projector",),
    )


class LlavaFamily(Family):
    """A tower, a projector of two layers that takes a row for each placeholder, any language model.

    One placeholder is a row of the tower, but for a class token that is dropped between them.
    """

    tower: ClassVar[str]
    """`model_type` of the vision_config."""
    assumed: ClassVar[Mapping[str, int]]
    """What transformers assumes where vision_config lacks a number; what the tower always does."""
    processor_class: ClassVar[str] = "LlavaProcessor"
    image_token: ClassVar[str] = "<image>"
    special_tokens: ClassVar[tuple[str, ...]] = (
        "<unk>",
        miniature.BOS,
        miniature.EOS,
        miniature.PAD,
        "<image>",
    )
    formulas: ClassVar[Mapping[str, str]] = {
        "encoder": "p², p = ⌊image_size / patch_size⌋",
        "connector": "p² (LLaVA-1.5, arXiv 2310.03744: a projector of each patch)",
    }
    sizes = Sizes(few=(300, 400), grows=False)
    vllm = VllmClass(module="llava", name="LlavaForConditionalGeneration")
    prefixes: ClassVar[tuple[tuple[str, str], ...]] = (
        ("model.language_model.", "language_model.model."),
        ("model.vision_tower.", "vision_tower."),
        ("model.multi_modal_projector.", "multi_modal_projector."),
        ("lm_head", "language_model.lm_head"),
    )
    older = prefixes
    connector_cases: ClassVar[Mapping[str, str]] = {
        "multi_modal_projector.linear_1": CONNECTOR,
        "multi_modal_projector.linear_2": CONNECTOR,
        "language_model.model.layers.23.self_attn.qkv_proj": LANGUAGE,
    }
    """What `prefix_cases` are but for the tower's."""

    def layout(self, config: Mapping[str, Any], folder: Path | None) -> Layout:
        """All of config.json; the image processor, where there is one, must say the same."""
        layout = layout_of(config, self.tower, self.assumed)
        if folder is not None:
            require_size(folder, layout.image_size)
        return layout

    def markers(self, grid: tuple[int, int]) -> int:
        """Tokens of a picture that are no placeholders."""
        return 0

    def flow(self, layout: Layout, medium: Medium) -> Flow:
        """One call of the tower; the projector sees what is left of its rows."""
        grid = layout.grid(medium.width, medium.height)
        tokens = layout.connector_rows(grid)
        return Flow(
            name=f"{medium.width}×{medium.height}",
            size=(medium.width, medium.height),
            rows={"encoder": layout.encoder_rows(grid), "connector": tokens},
            tokens=tokens,
            prompt_tokens=tokens + self.markers(grid),
            details={"grid_height": grid[0], "grid_width": grid[1]},
        )

    def describe(self, layout: Layout) -> Sequence[str]:
        """The layout, and the rows of a picture."""
        numbers = f"image_size {layout.image_size} / patch_size {layout.patch_size}"
        if layout.free:
            return (f"{numbers}, any shape", "one row of the tower for a patch, none more")
        grid = layout.grid(1, 1)
        return (
            f"{numbers}, every picture a square",
            f"rows of any picture: {layout.encoder_rows(grid)} encoder, "
            f"{layout.connector_rows(grid)} connector",
        )

    def miniature(self, config: Mapping[str, Any], layout: Layout) -> dict[str, Any]:
        """See `miniature`."""
        vision = {"image_size": layout.image_size, "patch_size": layout.patch_size}
        tokens, token = self.special_tokens, self.image_token
        whole = {"model_type": self.tower, **vision}
        return miniature.miniature_config(config, tokens, token, **whole)

    def picture_settings(self, layout: Layout) -> dict[str, Any]:
        """The image processor's."""
        return dict(PICTURES)

    def processor_settings(self, layout: Layout) -> dict[str, Any]:
        """The processor's."""
        return {
            "patch_size": layout.patch_size,
            "image_token": self.image_token,
            "num_additional_image_tokens": int(layout.class_token),
            "vision_feature_select_strategy": "default" if layout.drops_first else "full",
        }

    def side_files(self, layout: Layout) -> dict[str, Any]:
        """See `miniature`."""
        return miniature.side_files(
            self.special_tokens,
            self.processor_class,
            self.processor_settings(layout),
            self.picture_settings(layout),
        )

    def questions(self, layout: Layout) -> Sequence[Sequence[Picture]]:
        """Every border of size and patch alone, in both directions; then several in one prompt."""
        side, patch = layout.image_size, layout.patch_size
        roles = by_size(self.sizes.one, self.sizes.few, self.sizes.many)
        _, few, many = roles
        sizes = {
            "1x1": (1, 1),
            "one-patch": (patch, patch),
            "over-a-patch": (patch + 1, patch - 1),
            "square": (side, side),
            "under-square": (side - 1, side),
            "over-square": (side, side + 1),
            "wide": (side, patch),
            "over-wide": (side + 1, 5 * patch),
            "upright": (patch, side),
            "thin": (side, 1),
            "large": (5000, 3001),
            "twice": (2 * side, side),
            "rounded": (3 * side + 1, 2 * side + 1),
            "100x60": (100, 60),
            "337x336": (337, 336),
            **roles,
        }
        together = (
            ("square", few),
            (many, "upright", many),
            ("1x1", "wide", "gray", "turned"),
        )
        return questions(sizes, together, gray=(2 * patch, patch), rgba=(patch, 3 * patch))

    def hook_cases(self, layout: Layout) -> Sequence[HookCase]:
        """What each picture of the questions has, alone and several times; numbers of no picture.

        Several, since the buffers of the wrappers are sized by as many placeholders.
        """
        known: dict[int, HookCase] = {}
        for flow, times in ((f, n) for n in (1, 2, 3, 8) for f in self.alone(layout)):
            tokens, rows = times * flow.tokens, times * flow.rows["encoder"]
            case = HookCase(
                label=f"{tokens} placeholders", tokens=tokens, tower=rows, connector=tokens
            )
            known.setdefault(tokens, case)
        odd = (0, -1) if layout.free else (0, -1, 1, layout.connector_rows(layout.grid(1, 1)) + 1)
        return [*known.values(), *(HookCase(label=f"{n} image tokens", tokens=n) for n in odd)]
