"""Fix: InternVL's connector in layers that take LoRA. Mutants: mistakes in its hooks."""

from collections.abc import Mapping
from typing import Any

from .. import lora_linear
from ..mutants.mapping import connector_as_tower, held_by_tower, miscount, miscounted, misplaced
from ..registry import Patch

MODULE = "vllm.model_executor.models.internvl"
CLASS = f"{MODULE}:InternVLChatModel"
COUNTS = f"{CLASS}.get_mm_lora_token_counts"
MAPPING = f"{CLASS}.get_mm_mapping"

Rows = tuple[int, int]
"""(tower rows, connector rows)."""


def prepared(config: Any) -> Mapping[str, int]:
    """What the count hook reads, as the class's own __init__ computes it."""
    side: int = config.vision_config.image_size // config.vision_config.patch_size
    return {
        "patch_tokens": side**2,
        "num_image_token": int(side**2 * config.downsample_ratio**2),
    }


def _in_layers_of_vllm(original: Any) -> Any:
    def _init_mlp1(self: Any, config: Any) -> Any:
        layers = original(self, config)
        for place, layer in enumerate(layers):
            if type(layer).__name__ == "Linear":
                layers[place] = lora_linear.replicated(layer)
        return layers

    return _init_mlp1


def class_token_forgotten(model: Any, tower: int, connector: int) -> Rows:
    """1024 rows a tile instead of 1025."""
    return tower - connector // model.num_image_token, connector


def shuffle_not_squared(model: Any, tower: int, connector: int) -> Rows:
    """512 connector rows a tile, not 256: the ratio instead of its square."""
    side = round((model.patch_tokens / model.num_image_token) ** 0.5)
    return tower, connector * side


FIX = Patch(
    id="internvl-connector-layers",
    kind="fix",
    versions=">=0.28",
    needs=(lora_linear.NEEDS,),
    wraps={f"{CLASS}._init_mlp1": _in_layers_of_vllm},
    reason="mlp1 is made of nn.Linear, for which vLLM has no LoRA layer: every adapter that has a "
    "tensor there is refused",
)

PATCHES = (
    FIX,
    *(
        miscounted(f"internvl-{name}", COUNTS, miscount(mistake), reason, ("internvl",))
        for name, mistake, reason in (
            ("class-token-forgotten", class_token_forgotten, "tower rows without the class token"),
            ("connector-as-tower", connector_as_tower, "connector counted the tower's rows"),
            (
                "shuffle-not-squared",
                shuffle_not_squared,
                "connector rows by the ratio, not its square",
            ),
        )
    ),
    misplaced(
        "internvl-connector-under-tower",
        MAPPING,
        held_by_tower,
        "mlp1 held by the tower",
        ("internvl",),
    ),
)
PREPARE = {"InternVLChatModel": prepared}
