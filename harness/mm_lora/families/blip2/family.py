"""BLIP-2: whatever the size of a picture, 32 queries read it in a Q-Former."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

from mm_lora.core.asking import Medium
from mm_lora.families.blip2 import miniature
from mm_lora.families.blip2.layout import Layout, layout_of
from mm_lora.families.blip2.modules import GROUPS, TEXT, TOWER_LAYERS
from mm_lora.families.family import Family, GoodAdapter, Sizes, VllmClass
from mm_lora.families.flow import Flow, HookCase, known
from mm_lora.families.forms import peft_forms
from mm_lora.families.layouts import require_picture
from mm_lora.families.modules import CONNECTOR, LANGUAGE, TOWER
from mm_lora.families.pictures import Picture, by_size, questions
from mm_lora.families.qwen import tower_qkv

CROSS_KEYS = "cross-keys-under-connector"
WHOLE_BUDGETS = "budget-of-whole-pictures"
BUDGET = "placeholders of any pictures"
_PAPER = "BLIP-2, arXiv 2301.12597"
_WIDE = ("tower-projection", "tower-mlp", "language-v_proj", "language-fc2")
"""Neither the tower's qkv nor the connector, see known_defects.toml."""


class Blip2(Family):
    """Every picture is squeezed to one square, and there is one in a prompt, before its text."""

    name = "blip-2"
    title = "BLIP-2"
    model_types = ("blip-2",)
    published = ("blip-2", "blip-2-6.7b", "blip-2-coco")
    repositories: ClassVar[Mapping[str, str]] = {
        "Salesforce/blip2-opt-2.7b": "blip-2",
        "Salesforce/blip2-opt-6.7b": "blip-2-6.7b",
        "Salesforce/blip2-opt-2.7b-coco": "blip-2-coco",
    }
    state = "partly"
    state_reason = (
        "vLLM refuses adapters of Q-Former and projection, and ignores the tower's qkv; with the "
        "fixes its core passes and its mutants are killed"
    )
    groups = GROUPS
    formulas: ClassVar[Mapping[str, str]] = {
        "encoder": f"p² + 1, p = image_size / patch_size: 257 or 677 ({_PAPER})",
        "connector": f"num_query_tokens, 32: the queries of the Q-Former ({_PAPER})",
    }
    forms = peft_forms(
        GROUPS,
        wide=_WIDE,
        ranks={"projection": 2, "fc1": 4},
        alphas={"projection": 5, "fc2": 40},
        partial=(
            f"{TOWER_LAYERS.replace('*', '1')}.self_attn.projection",
            f"{TEXT.replace('*', '2')}.self_attn.[vo]*_proj",
        ),
        packed=("language-q_proj", "language-v_proj"),
        ends=(*(f"{name}_proj" for name in ("q", "k", "v", "out")), "fc1", "fc2"),
        ends_groups=("tower-mlp", "language-model"),
    )
    good = GoodAdapter(adapter="language-model", plain="out_proj")
    sizes = Sizes(few=(300, 400), many=(480, 640), grows=False)
    special_tokens = miniature.SPECIAL_TOKENS
    vllm = VllmClass(module="blip2", name="Blip2ForConditionalGeneration")
    limits: ClassVar[Mapping[str, int]] = {"image": 1}
    packed: ClassVar[Mapping[str, str]] = {f"{name}_proj": "qkv_proj" for name in "qkv"}
    predictors = (tower_qkv.IGNORED,)
    predicted_roles = (TOWER, LANGUAGE)
    prefix_cases: ClassVar[Mapping[str, str]] = {
        "vision_model.encoder.layers.38.self_attn.qkv": TOWER,
        "vision_model.encoder.layers.0.self_attn.projection": TOWER,
        "vision_model.encoder.layers.0.mlp.fc2": TOWER,
        "qformer.encoder.layer.10.crossattention.attention.key": TOWER,
        "qformer.encoder.layer.0.crossattention.attention.value": TOWER,
        "qformer.encoder.layer.0.crossattention.attention.query": CONNECTOR,
        "qformer.encoder.layer.11.attention.attention.key": CONNECTOR,
        "qformer.encoder.layer.0.crossattention.output.dense": CONNECTOR,
        "language_projection": CONNECTOR,
        "language_model.model.decoder.layers.31.self_attn.qkv_proj": LANGUAGE,
        "language_model.model.decoder.layers.0.fc1": LANGUAGE,
    }
    known_flows = (
        *known("blip-2", (224, 224), f"{_PAPER}, section 3.1: 32 × 768", image_tokens=32),
        *known("blip-2", (700, 400), f"{_PAPER}, section 3.1: 257 × 1024", encoder_rows=257),
        *known("blip-2-coco", (364, 364), "positions of blip2-opt-2.7b-coco", encoder_rows=677),
    )

    def layout(self, config: Mapping[str, Any], folder: Path | None) -> Layout:
        """See `layout`."""
        return layout_of(config, folder)

    def flow(self, layout: Layout, medium: Medium) -> Flow:
        """One call of the tower and of the Q-Former, without a marker."""
        require_picture(medium.width, medium.height)
        return Flow(
            name=f"{medium.width}×{medium.height}",
            size=(medium.width, medium.height),
            rows={"encoder": layout.encoder_rows, "connector": layout.queries},
            tokens=layout.queries,
            prompt_tokens=layout.queries,
            details={"grid_height": layout.side, "grid_width": layout.side},
        )

    def describe(self, layout: Layout) -> Sequence[str]:
        """The layout, and the rows of a picture."""
        return (
            f"image_size {layout.image_size} / patch_size {layout.patch_size}, every picture a "
            f"square, {layout.queries} queries",
            f"rows of any picture: {layout.encoder_rows} encoder, {layout.queries} connector",
        )

    def miniature(self, config: Mapping[str, Any], layout: Layout) -> dict[str, Any]:
        """See `miniature`."""
        return miniature.miniature_config(config, layout)

    def side_files(self, layout: Layout) -> dict[str, Any]:
        """See `miniature`."""
        return miniature.side_files(layout)

    def questions(self, layout: Layout) -> Sequence[Sequence[Picture]]:
        """One picture in each prompt."""
        side, patch = layout.image_size, layout.patch_size
        sizes = {
            "1x1": (1, 1),
            "one-patch": (patch, patch),
            "square": (side, side),
            "under-square": (side - 1, side),
            "over-square": (side, side + 1),
            "wide": (side, patch),
            "upright": (patch, side),
            "thin": (side, 1),
            "large": (5000, 3001),
            "twice": (2 * side, side),
            "rounded": (3 * side + 1, 2 * side + 1),
            **by_size(self.sizes.one, self.sizes.few, self.sizes.many),
        }
        return questions(sizes, (), gray=(2 * patch, patch), rgba=(patch, 3 * patch))

    def hook_cases(self, layout: Layout) -> Sequence[HookCase]:
        """Several pictures, as steps hold them; numbers of no picture; sizes of buffers, one of
        them of a step that no number of pictures fills."""
        queries, rows = layout.queries, layout.encoder_rows
        whole = [
            HookCase(
                label=f"{count} pictures",
                tokens=count * queries,
                tower=count * rows,
                connector=count * queries,
            )
            for count in (1, 2, 3, 8, 64)
        ]
        odd = (0, -1, -queries, 1, queries + 1)
        budget = 8 * queries + 1
        return [
            *whole,
            *(HookCase(label=f"{n} image tokens", tokens=n) for n in odd),
            HookCase(
                label=f"{budget} {BUDGET}",
                tokens=budget,
                tower=8 * rows,
                connector=8 * queries,
                least=True,
            ),
        ]

    def predicted_coverage(self, found: Sequence[Any]) -> tuple[str, ...]:
        """The fused projection of the tower has no layer, and nothing else is amiss."""
        return tower_qkv.explains(found)

    def predicted_rows(self, layout: Layout, found: Sequence[Any]) -> tuple[str, ...]:
        """`cross-keys-under-connector`: what reads the tower's rows has the queries' wrapper.
        `budget-of-whole-pictures`: the hook raises where pictures do not fill a step. All that is
        wrong must be one of them."""
        kinds = [
            CROSS_KEYS
            if ".crossattention.attention." in one.where and one.expected == TOWER
            else WHOLE_BUDGETS
            if BUDGET in one.where and str(one.observed).startswith("AssertionError")
            else ""
            for one in found
        ]
        return tuple(dict.fromkeys(kinds)) if all(kinds) else ()


FAMILY = Blip2()
