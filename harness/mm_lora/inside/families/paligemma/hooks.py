"""PaliGemma's projector, names and hooks: two fixes, and seeded mistakes."""

from typing import Any

from ... import lora_linear
from ...mutants.mapping import held_by_tower, miscount, miscounted, misplaced
from ...registry import Patch
from ..llava.hooks import Rows, class_token_everywhere, tower_names

MODULE = "vllm.model_executor.models.paligemma"
OWNER = f"{MODULE}:PaliGemmaForConditionalGeneration"
HOOK = f"{OWNER}.get_mm_lora_token_counts"


def _in_a_layer_of_vllm(original: Any) -> Any:
    def init(self: Any, *given: Any, **named: Any) -> None:
        original(self, *given, **named)
        self.linear = lora_linear.replicated(self.linear)

    return init


def tower_as_pooled(model: Any, tower: int, connector: int) -> Rows:
    """The tower is counted a quarter of its rows, as if 2 × 2 patches were one."""
    return tower // 4, connector


def projector_as_pooled(model: Any, tower: int, connector: int) -> Rows:
    """The projector is counted a quarter of its rows."""
    return tower, connector // 4


PATCHES = (
    Patch(
        id="paligemma-projector-layer",
        kind="fix",
        versions=">=0.32",
        needs=(lora_linear.NEEDS,),
        wraps={f"{MODULE}:PaliGemmaMultiModalProjector.__init__": _in_a_layer_of_vllm},
        reason="the projector is an nn.Linear, for which vLLM has no LoRA layer: every adapter "
        "that has a tensor there is refused",
    ),
    tower_names("paligemma", OWNER),
    *(
        miscounted(f"paligemma-{name}", HOOK, miscount(mistake), reason, ("paligemma",))
        for name, mistake, reason in (
            ("class-token-everywhere", class_token_everywhere, "a class token where there is none"),
            ("tower-as-pooled", tower_as_pooled, "a quarter of the tower's rows"),
            ("projector-as-pooled", projector_as_pooled, "a quarter of the projector's rows"),
        )
    ),
    misplaced(
        "paligemma-projector-under-tower",
        f"{OWNER}.get_mm_mapping",
        held_by_tower,
        "projector held by the tower",
        ("paligemma",),
    ),
)
