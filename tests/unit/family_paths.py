"""What every family must say of a module that an adapter may name."""

from mm_lora.families.family import Family
from mm_lora.families.modules import ModuleGroup


def require_path(family: Family, path: str, group: str, layer: str) -> ModuleGroup:
    """The PEFT `path` is in `group`, `layer` of vLLM's serves it, and its name leads back."""
    found = family.group_of(path)
    assert found is not None
    assert found.name == group
    assert family.from_vllm(family.to_vllm(path)) == path
    assert family.layer_of(path) == layer
    return found
