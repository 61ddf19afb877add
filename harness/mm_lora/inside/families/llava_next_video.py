"""LLaVA-NeXT-Video's projector, names and hooks: three fixes, and seeded mistakes."""

from typing import Any

from .. import lora_linear
from ..mutants.mapping import held_by_tower, miscount, miscounted, misplaced
from ..registry import Patch
from .llava.hooks import Rows, has_dropped_token, patches, tower_names, with_class_tokens

MODULE = "vllm.model_executor.models.llava_next_video"
OWNER = f"{MODULE}:LlavaNextVideoForConditionalGeneration"
HOOK = f"{OWNER}.get_mm_lora_token_counts"
FAMILY = "llava-next-video"


def prepared(config: Any) -> dict[str, int]:
    """What the count hook reads, as the class's own __init__ computes it."""
    side: int = config.vision_config.image_size // config.vision_config.patch_size
    stride: int = config.spatial_pool_stride
    return {"patch_grid_length": side, "pooled_grid_length": -(-side // stride)}


def _in_layers_of_vllm(original: Any) -> Any:
    def init(self: Any, *given: Any, **named: Any) -> None:
        original(self, *given, **named)
        for name in ("linear_1", "linear_2"):
            setattr(self, name, lora_linear.replicated(getattr(self, name)))

    return init


def frame_lost(model: Any, tower: int, connector: int) -> Rows:
    """The last frame is not counted."""
    pooled: int = model.pooled_grid_length**2
    return tower - patches(model) - has_dropped_token(model), connector - pooled


def pooling_forgotten(model: Any, tower: int, connector: int) -> Rows:
    """The projector is counted a row for each patch."""
    return tower, connector * model.config.spatial_pool_stride**2


def pooling_not_squared(model: Any, tower: int, connector: int) -> Rows:
    """The projector is counted half of the patches, not a quarter."""
    return tower, connector * model.config.spatial_pool_stride


PATCHES = (
    Patch(
        id=f"{FAMILY}-class-token-rows",
        kind="fix",
        versions=">=0.32",
        wraps={HOOK: with_class_tokens},
        reason="a CLIP tower sees a class token more for each frame than it has patches",
    ),
    Patch(
        id=f"{FAMILY}-projector-layers",
        kind="fix",
        versions=">=0.32",
        needs=(lora_linear.NEEDS,),
        wraps={f"{MODULE}:LlavaNextMultiModalProjector.__init__": _in_layers_of_vllm},
        reason="the projector is made of nn.Linear, for which vLLM has no LoRA layer: every "
        "adapter that has a tensor there is refused",
    ),
    tower_names(FAMILY, OWNER),
    *(
        miscounted(f"{FAMILY}-{name}", HOOK, miscount(mistake), reason, (FAMILY,))
        for name, mistake, reason in (
            ("frame-lost", frame_lost, "the last frame is lost"),
            ("pooling-forgotten", pooling_forgotten, "projector rows by patches"),
            ("pooling-not-squared", pooling_not_squared, "projector rows by the stride, unsquared"),
        )
    ),
    misplaced(
        f"{FAMILY}-projector-under-tower",
        f"{OWNER}.get_mm_mapping",
        held_by_tower,
        "projector held by the tower",
        (FAMILY,),
    ),
)
PREPARE = {"LlavaNextVideoForConditionalGeneration": prepared}
