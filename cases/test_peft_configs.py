"""PEFT's options: vLLM applies an adapter with each of them exactly, or refuses it clearly.

The adapters are loaded over HTTP, since one that vLLM refuses at its start would end the server.
"""

import pytest
from _pytest.mark import ParameterSet

from mm_lora.adapters.peft_variants import NEWEST_NAMES, TWINS, peft_variants
from mm_lora.checks.applied import applied_or_refused
from mm_lora.checks.context import Context
from mm_lora.checks.judging import Judge
from mm_lora.checks.running import Served
from mm_lora.families.family import Family

pytestmark = pytest.mark.truth("reference")

CORE = ("peft-rslora", "peft-rank-pattern", "peft-part-of-qkv", "peft-bfloat16", NEWEST_NAMES)
REFUSAL = {
    "peft-sharded": r"adapter_model|safetensors|tensors|shard",
    "peft-text-class": r"modules|model\.layers|target",
}
"""What a clear refusal speaks of, by adapter; the others are plain LoRA and must be applied."""


def variants(family: Family) -> list[ParameterSet]:
    return [
        pytest.param(name, marks=() if name in CORE else pytest.mark.full)
        for name in peft_variants(family)
    ]


@pytest.mark.check(
    "numerics/{model}/{adapter}/applied",
    title="{adapter} is applied as PEFT applies it, or refused with a clear reason",
)
@pytest.mark.server
@pytest.mark.each("adapter", variants)
def test_config(model: str, adapter: str, served: Served, check: Judge, context: Context) -> None:
    applied_or_refused(
        served,
        check,
        context,
        adapter,
        twin=TWINS.get(adapter, ""),
        refusal=REFUSAL.get(adapter, ""),
    )
