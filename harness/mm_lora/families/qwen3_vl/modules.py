"""Qwen3-VL's module groups: those of the other towers, and a merger for each level of deepstack."""

from mm_lora.families.modules import CONNECTOR, ModuleGroup, by_name, siblings
from mm_lora.families.qwen.vision import groups

MLP = ("linear_fc1", "linear_fc2")
_SHARED = groups(MLP, "linear_fc?")


def _merger(name: str, within: str) -> ModuleGroup:
    """The two layers of a merger, or of all that fit; under the tower's prefix, but a connector."""
    return siblings(
        name,
        f"model.visual.{within}",
        MLP,
        "linear_fc?",
        role=CONNECTOR,
        rows="merged",
        drop="linear_",
    )


GROUPS = by_name(
    *(_SHARED[name] for name in ("tower-attention", "tower-mlp", "patch-embedding")),
    _merger("merger", "merger"),
    _merger("deepstack-mergers", "deepstack_merger_list.*"),
    _SHARED["language-model"],
)
