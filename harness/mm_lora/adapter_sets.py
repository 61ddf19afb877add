"""Every synthetic adapter that a case may ask for, by its name."""

from mm_lora.adapters import STANDARD, AdapterSpec
from mm_lora.errors import UsageError
from mm_lora.projections import PROJECTIONS

KNOWN: dict[str, AdapterSpec] = {**STANDARD, **PROJECTIONS}


def named(name: str) -> AdapterSpec:
    """The adapter of that name. Raises UsageError."""
    if name not in KNOWN:
        raise UsageError(f"no adapter '{name}'", f"one of {', '.join(KNOWN)}")
    return KNOWN[name]
