"""Qwen3-VL's module groups: those of the other towers, and a merger for each level of deepstack."""

from mm_lora.families.modules import CONNECTOR, ModuleGroup, by_name
from mm_lora.families.qwen.vision import groups

MLP = ("linear_fc1", "linear_fc2")
_SHARED = groups(MLP, "linear_fc?")


def _merger(name: str, within: str, pattern: str) -> ModuleGroup:
    """The two layers of a merger, or of all that fit; under the tower's prefix, but a connector."""
    place = f"model.visual.{within}"
    return ModuleGroup(
        name=name,
        pattern=rf"model\.visual\.{pattern}\.linear_fc[12]",
        role=CONNECTOR,
        rows="merged",
        target=f"{place}.linear_fc?",
        projections={f"{name}-{layer[-3:]}": f"{place}.{layer}" for layer in MLP},
    )


GROUPS = by_name(
    *(_SHARED[name] for name in ("tower-attention", "tower-mlp", "patch-embedding")),
    _merger("merger", "merger", "merger"),
    _merger("deepstack-mergers", "deepstack_merger_list.*", r"deepstack_merger_list\.\d+"),
    _SHARED["language-model"],
)
