"""The report of noise and strength: two tables, and which errors a server's tolerance lets pass."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from mm_lora.run import limits
from mm_lora.run.tolerances import Allowed, unseen_scale_error

if TYPE_CHECKING:
    from mm_lora.run.context import RunContext

_NOISE = {
    "title": "Noise: the largest difference between clean runs, and what it allows, in logprob",
    "columns": ["server", "noise", "last place", "tolerance", "least effect", "said"],
}
_STRENGTH = {
    "title": "Adapters: strength, effect in logprob, and the scale error that answers do not show",
    "columns": ["server", "adapter", "strength", "effect", "effect / tolerance", "scale error"],
    "brief": False,
}


def add_rows(context: "RunContext", label: str, allowed: Allowed) -> None:
    """A server's noise and tolerance, and the sentence that says what they let pass."""
    noise = "not measured" if allowed.noise is None else f"{allowed.noise:.3g}"
    numbers = [f"{n:.3g}" for n in (allowed.floor, allowed.tolerance, allowed.min_effect)]
    _rows(context, "noise", _NOISE).append([label, noise, *numbers, allowed.note])
    _say(
        context,
        f"on {label}, a wrong answer less than {allowed.tolerance:.3g} in logprob from the right "
        f"one (noise {noise})",
    )


def add_effects(
    context: "RunContext",
    label: str,
    allowed: Allowed,
    effects: Mapping[str, float],
    strengths: Mapping[str, str],
) -> None:
    """A row for each adapter; the smallest and the largest scale error that is not seen."""
    if not effects:
        return
    unseen = {name: 100 * unseen_scale_error(effects[name], allowed.tolerance) for name in effects}
    for name, effect in effects.items():
        times = f"{effect / allowed.tolerance:.3g}"
        _rows(context, "strength", _STRENGTH).append(
            [label, name, strengths[name], f"{effect:.3g}", times, f"{unseen[name]:.2g} %"]
        )
    least, most = min(unseen, key=unseen.__getitem__), max(unseen, key=unseen.__getitem__)
    _say(
        context,
        f"on {label}, by answers alone, a scale (alpha) wrong by less than "
        f"{unseen[least]:.2g} % ({least}) to {unseen[most]:.2g} % ({most})",
    )


def _say(context: "RunContext", sentence: str) -> None:
    context.cannot_see.append(sentence)
    context.run.limits = limits.of(context.profile, context.cannot_see)


def _rows(context: "RunContext", name: str, table: Mapping[str, Any]) -> list[list[str]]:
    found = context.run.tables.setdefault(name, {**table, "rows": []})
    rows: list[list[str]] = found["rows"]
    return rows
