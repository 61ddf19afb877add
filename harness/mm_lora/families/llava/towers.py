"""The groups of the two towers that transformers builds alike: CLIP's and SigLIP's."""

from collections.abc import Mapping
from typing import ClassVar

from mm_lora.families.llava.shared import LlavaFamily, forms, groups
from mm_lora.families.modules import TOWER

FILES, OWN = "model.vision_tower.vision_model.", "model.vision_tower."
"""What the tower's names begin with in files, released ones and those that vLLM reads; and in
transformers since 5.6, where the tower lost a level."""

_LAYERS = f"{OWN}encoder.layers.*"
_PATTERN = r"model\.vision_tower\.(vision_model\.)?encoder\.layers\.\d+"
_ATTENTION = tuple(f"self_attn.{name}_proj" for name in ("q", "k", "v", "out"))


class EncoderTower(LlavaFamily):
    """q, k, v and out, fc1 and fc2 in each layer."""

    renamed = "tower-attention"
    groups = groups(_LAYERS, _PATTERN, _ATTENTION, ("mlp.fc1", "mlp.fc2"))
    forms = forms(groups, "out_proj", "fc1")
    prefixes = ((OWN, "vision_tower.vision_model."), *LlavaFamily.prefixes)
    prefix_cases: ClassVar[Mapping[str, str]] = {
        "vision_tower.vision_model.encoder.layers.22.self_attn.qkv_proj": TOWER,
        "vision_tower.vision_model.encoder.layers.0.self_attn.out_proj": TOWER,
        "vision_tower.vision_model.encoder.layers.0.mlp.fc2": TOWER,
        **LlavaFamily.connector_cases,
    }

    def to_vllm(self, path: str) -> str:
        """The same from either spelling."""
        return super().to_vllm(path.replace(FILES, OWN))
