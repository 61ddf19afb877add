"""The report of noise and strength: two tables, and which errors a server's tolerance lets pass."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

from mm_lora.core.table import Column, Kind
from mm_lora.run.tolerances import Allowed, unseen_scale_error

if TYPE_CHECKING:
    from mm_lora.run.context import RunContext

_UNMEASURED = "not measured"
_NOISE_TITLE = "Noise: the largest difference between clean runs, and what it allows, in logprob"
_NOISE = (
    "server",
    Column("noise", Kind.NUMBER, absent=_UNMEASURED),
    Column("last place", Kind.NUMBER),
    Column("tolerance", Kind.NUMBER),
    Column("least effect", Kind.NUMBER),
    "said",
)
_STRENGTH_TITLE = (
    "Adapters: strength, effect in logprob, and the scale error that answers do not show"
)
_STRENGTH = (
    "server",
    "adapter",
    "strength",
    Column("effect", Kind.NUMBER),
    Column("effect / tolerance", Kind.RATIO),
    Column("scale error", Kind.FRACTION),
)


def add_rows(context: "RunContext", label: str, allowed: Allowed) -> None:
    """A server's noise and tolerance, and the sentence that says what they let pass."""
    table = context.table("noise", _NOISE_TITLE, _NOISE)
    numbers = (allowed.noise, allowed.floor, allowed.tolerance, allowed.min_effect)
    table.add(label, *numbers, allowed.note)
    noise = table.columns[1].shown(allowed.noise)
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
    unseen = {name: unseen_scale_error(effects[name], allowed.tolerance) for name in effects}
    table = context.table("strength", _STRENGTH_TITLE, _STRENGTH, brief=False)
    for name, effect in effects.items():
        times = effect / allowed.tolerance
        table.add(label, name, strengths[name], effect, times, unseen[name])
    least, most = min(unseen, key=unseen.__getitem__), max(unseen, key=unseen.__getitem__)
    _say(
        context,
        f"on {label}, by answers alone, a scale (alpha) wrong by less than "
        f"{100 * unseen[least]:.2g} % ({least}) to {100 * unseen[most]:.2g} % ({most})",
    )


def _say(context: "RunContext", sentence: str) -> None:
    context.cannot_see.append(sentence)
    context.tell_limits()
