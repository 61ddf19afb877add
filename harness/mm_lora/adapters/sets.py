"""Every synthetic adapter that a case may ask for, by its name."""

from dataclasses import replace

from mm_lora.adapters.peft_variants import PEFT_VARIANTS
from mm_lora.adapters.projections import PROJECTIONS
from mm_lora.adapters.relatives import RELATIVES
from mm_lora.adapters.spec import STANDARD, AdapterSpec
from mm_lora.core.errors import UsageError

KNOWN: dict[str, AdapterSpec] = {**STANDARD, **PROJECTIONS, **PEFT_VARIANTS, **RELATIVES}


def named(name: str) -> AdapterSpec:
    """The adapter of that name. Raises UsageError."""
    if name not in KNOWN:
        raise UsageError(f"no adapter '{name}'", f"one of {', '.join(KNOWN)}")
    return KNOWN[name]


def settled(spec: AdapterSpec, dtype: str, factor: float = 1.0) -> AdapterSpec:
    """The adapter for a server of that dtype, in 16 bits as its own unless it has another one.

    `factor`: so many times stronger. Adapters of one stream stay each other's relatives.
    """
    stronger = spec if factor == 1 else replace(spec, strength=spec.strength * factor)
    if spec.dtype != "float32" or dtype not in ("bfloat16", "float16"):
        return stronger
    return replace(stronger, dtype=dtype)
