"""An adapter that is loaded over HTTP is applied as PEFT applies it, or refused with its reason."""

import re

from mm_lora.checks.context import Context
from mm_lora.checks.judging import Judge
from mm_lora.checks.numerics_table import add_row
from mm_lora.checks.running import Served
from mm_lora.core.asking import Request


def applied_or_refused(
    served: Served, check: Judge, context: Context, adapter: str, *, twin: str, refusal: str
) -> None:
    """`twin`: the adapter whose truth is this one's, "" for its own. `refusal`: what a clear
    refusal speaks of, a regular expression; "" where the adapter must be applied."""
    status, said = served.load(adapter)
    if status != 200:
        check.claim(
            400 <= status < 500 and bool(refusal) and bool(re.search(refusal, said)),
            expected="the adapter is applied" + (", or refused with its reason" if refusal else ""),
            observed=f"HTTP {status}: {said[:1000]}",
            reason="refused without saying why" if refusal else "refused",
        )
        return

    def again() -> None:
        """A fresh server in place of one that died of the request does not have the adapter."""
        served.load(adapter)

    try:
        request = Request(model=adapter, pictures=(served.family.sizes.picture("one"),))
        answer = served.ask_after(request, again)
        check.equal([], answer.problems(request, None), "the answer is not valid")
        truth = served.forced(request, answer, predict=True, truth=twin)
        label = served.family.sizes.labels["one"]
        add_row(context, served.spec.model, adapter, label, answer, truth)
        check.agrees(
            truth.adapted,
            answer.logprobs,
            base=truth.base,
            ties=truth.ties,
            predictors={"as-the-base": truth.bases, **truth.predicted},
        )
    finally:
        served.unload(adapter)
