"""Feature: tower and connector LoRA for Llama 4, as upstream has it, for a vLLM that lacks it."""

from types import ModuleType
from typing import Any

from ...registry import Patch

MODULE = "vllm.model_executor.models.mllama4"
CLASS = "Llama4ForConditionalGeneration"
INTERFACE_FLAG = "supports_tower_connector_lora"
CONNECTOR = ("multi_modal_projector.", "vision_model.vision_adapter.")


def _give_hooks(module: ModuleType) -> None:
    """Put mapping and counts into the class: the pair of hooks, or from vLLM 0.30 on the one.

    vLLM's LoRA manager takes the longest prefix that matches (model_manager.py,
    _get_punica_wrapper), so that the vision adapter, below the tower's prefix, is a connector's.
    """
    model = getattr(module, CLASS)
    model.get_mm_mapping = _mapping(module.MultiModelKeys)
    if hasattr(model, INTERFACE_FLAG):
        setattr(model, INTERFACE_FLAG, True)
        model.get_mm_lora_token_counts = _counts
    else:
        model.get_num_mm_encoder_tokens = _encoder_tokens
        model.get_num_mm_connector_tokens = _connector_tokens


def _mapping(keys: Any) -> Any:
    def get_mm_mapping(self: Any) -> Any:
        return keys.from_string_field(
            language_model="language_model",
            connector=list(CONNECTOR),
            tower_model="vision_model.",
        )

    return get_mm_mapping


def _geometry(model: Any) -> tuple[int, int]:
    """Rows of one chunk: (tower, with its class token; connector)."""
    vision = model.config.vision_config
    patches = (vision.image_size // vision.patch_size) ** 2
    return patches + 1, round(patches * vision.pixel_shuffle_ratio**2)


def _encoder_tokens(self: Any, num_image_tokens: int) -> int:
    tower, connector = _geometry(self)
    return max(0, num_image_tokens // connector) * tower


def _connector_tokens(self: Any, num_vision_tokens: int) -> int:
    tower, connector = _geometry(self)
    return max(0, num_vision_tokens // tower) * connector


def _counts(self: Any, *, modality: str, mm_kwargs: Any, num_mm_embeds: int) -> tuple[int, int]:
    rows = _encoder_tokens(self, num_mm_embeds)
    return rows, _connector_tokens(self, rows)


PATCH = Patch(
    id="llama4-tower-lora",
    kind="feature",
    needs=(f"{MODULE}:{CLASS}", f"{MODULE}:MultiModelKeys"),
    adds=_give_hooks,
    reason="vLLM before 0.17 has no tower/connector LoRA for Llama 4",
    upstream=("https://github.com/vllm-project/vllm/pull/35147",),
)
