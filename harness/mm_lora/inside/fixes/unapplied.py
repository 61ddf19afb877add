"""Fix: refuses an adapter with tensors for unwrapped modules instead of half applying it."""

from typing import Any

from ..registry import Patch


def _wrapped(original: Any) -> Any:
    def _add_adapter(self: Any, lora: Any) -> Any:
        known = set(self.modules)
        for path, parts in self.packed_modules.items():
            known.update(parts)
            known.add(path)
        left = sorted(name for name in lora.loras if name not in known)
        if left:
            raise ValueError(
                f"{len(left)} modules of the adapter would not be applied, since this server "
                f"wraps no module of that name: {', '.join(left[:5])}"
            )
        return original(self, lora)

    return _add_adapter


PATCH = Patch(
    id="refuse-unapplied",
    kind="fix",
    versions=">=0.17",
    wraps={"vllm.lora.model_manager:LoRAModelManager._add_adapter": _wrapped},
    reason="lora_model.py::from_local_checkpoint looks at the last part of a module's name only; a "
    "module under another prefix is accepted and never applied",
    upstream=("34186", "48019", "55193"),
)
