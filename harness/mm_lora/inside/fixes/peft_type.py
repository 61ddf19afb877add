"""Fix: an adapter whose config says that it is no LoRA is refused, as PEFT does."""

from types import ModuleType
from typing import Any

from ..hooks import replace
from ..registry import Patch


def _apply(module: ModuleType) -> None:
    def make(original: Any) -> Any:
        def from_dict(cls: Any, config_dict: dict[str, Any]) -> Any:
            kind = config_dict.get("peft_type") or "LORA"
            if str(kind).upper() != "LORA":
                raise ValueError(f"vLLM applies adapters of peft_type LORA, this one is {kind}.")
            return original(cls, config_dict)

        return from_dict

    replace(module, "PEFTHelper.from_dict", make)


PATCH = Patch(
    id="refuse-peft-type",
    kind="fix",
    versions=">=0.17",
    modules=("vllm.lora.peft_helper",),
    apply=_apply,
    reason="peft_helper.py::from_dict does not look at peft_type",
)
