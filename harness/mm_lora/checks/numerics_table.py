"""The report's table of numbers: for each answer the token where the adapter acts most."""

from typing import Any

from mm_lora.checks.context import Context
from mm_lora.core.asking import Answer
from mm_lora.core.outcomes import largest_difference
from mm_lora.truth.reference import Forced

COLUMNS = ["adapter", "request", "base", "reference", "server", "error", "effect"]


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
    row = [
        f"{model}/{adapter}",
        variant,
        f"{truth.base[at]:.4f}",
        f"{truth.adapted[at]:.4f}",
        f"{server:.4f}",
        f"{error:.1e}",
        f"{max(effects):.2g}",
    ]
    tables = context.run.tables
    every = tables.setdefault("numerics", _empty("Numerics: every answer", brief=False))
    every["rows"].append(row)
    worst = tables.setdefault("projections", _empty("Numerics: each adapter's worst answer"))
    known = {kept[0]: kept for kept in worst["rows"]}
    if row[0] not in known or float(known[row[0]][5]) < error:
        known[row[0]] = row
    worst["rows"] = list(known.values())


def _empty(title: str, *, brief: bool = True) -> dict[str, Any]:
    """`brief`: short enough for the terminal's summary too."""
    return {"title": title, "columns": COLUMNS, "rows": [], "brief": brief}
