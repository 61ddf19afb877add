"""The report's table of numbers: for each answer the token where the adapter acts most."""

from mm_lora.checks.context import Context
from mm_lora.core.asking import Answer
from mm_lora.core.outcomes import largest_difference
from mm_lora.core.table import Column, Kind
from mm_lora.truth.reference import Forced

COLUMNS = (
    "adapter",
    "request",
    Column("base", Kind.LOGPROB),
    Column("reference", Kind.LOGPROB),
    Column("server", Kind.LOGPROB),
    Column("error", Kind.DIFFERENCE),
    Column("effect", Kind.NUMBER),
)
_ERROR = 5


def add_row(
    context: Context, model: str, adapter: str, variant: str, answer: Answer, truth: Forced
) -> None:
    """Base, reference and server: logprobs of the token with the largest effect.

    `error` and `effect` are the largest ones of the whole answer (design: |server - reference|,
    |reference - base|), all in natural-log units. A second table keeps each adapter's worst answer.
    """
    effects = [abs(a - b) for a, b in zip(truth.adapted, truth.base, strict=True)]
    at = effects.index(max(effects))
    server = answer.logprobs[at] if at < len(answer.logprobs) else float("nan")
    error = largest_difference(truth.adapted, answer.logprobs)
    name = f"{model}/{adapter}"
    row = (name, variant, truth.base[at], truth.adapted[at], server, error, max(effects))
    context.table("numerics", "Numerics: every answer", COLUMNS, brief=False).add(*row)
    worst = context.table("projections", "Numerics: each adapter's worst answer", COLUMNS)
    place = worst.find(adapter=name)
    if place is None:
        worst.add(*row)
    elif worst.rows[place][_ERROR] < error:  # type: ignore[operator]
        worst.put(place, row)
