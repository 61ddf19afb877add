"""PEFT's options: vLLM applies an adapter with each of them exactly, or refuses it clearly.

The adapters are loaded over HTTP, since one that vLLM refuses at its start would end the server.
"""

import re

import pytest
from _pytest.mark import ParameterSet

from mm_lora.adapters.peft_variants import NEWEST_NAMES, TWINS, peft_variants
from mm_lora.checks.context import Context
from mm_lora.checks.judging import Judge
from mm_lora.checks.numerics_table import add_row
from mm_lora.checks.running import Served
from mm_lora.core.asking import Request
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
    status, said = served.load(adapter)
    if status != 200:
        refusal = REFUSAL.get(adapter)
        check.claim(
            400 <= status < 500 and refusal is not None and bool(re.search(refusal, said)),
            expected="the adapter is applied" + (", or refused with its reason" if refusal else ""),
            observed=f"HTTP {status}: {said[:300]}",
            reason="refused without saying why" if refusal else "refused",
        )
        return
    try:
        request = Request(model=adapter, pictures=(served.family.sizes.picture("one"),))
        answer = served.ask(request)
        check.equal([], answer.problems(request, None), "the answer is not valid")
        truth = served.forced(request, answer, predict=True, truth=TWINS.get(adapter, ""))
        add_row(context, model, adapter, served.family.sizes.labels["one"], answer, truth)
        check.agrees(
            truth.adapted,
            answer.logprobs,
            base=truth.base,
            ties=truth.ties,
            predictors={"as-the-base": truth.bases, **truth.predicted},
        )
    finally:
        served.unload(adapter)
