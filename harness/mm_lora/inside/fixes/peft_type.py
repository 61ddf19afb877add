"""Fix: refuses an adapter with a config that is not LoRA's, as PEFT does."""

from typing import Any

from ..registry import Patch


def _wrapped(original: Any) -> Any:
    def from_dict(cls: Any, config_dict: dict[str, Any]) -> Any:
        kind = config_dict.get("peft_type") or "LORA"
        if str(kind).upper() != "LORA":
            raise ValueError(f"vLLM applies adapters of peft_type LORA, this one is {kind}.")
        return original(cls, config_dict)

    return from_dict


PATCH = Patch(
    id="refuse-peft-type",
    kind="fix",
    versions=">=0.17",
    wraps={"vllm.lora.peft_helper:PEFTHelper.from_dict": _wrapped},
    reason="peft_helper.py::from_dict does not look at peft_type",
)
