"""Row ribbons: whose a layer's rows are, and for whose vLLM took them, one above the other."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from mm_lora.core.outcomes import Runs, WrongRows

COLOURS = 7
"""So many adapters have a colour of their own; the base has none, and each name is written too."""


@dataclass(frozen=True)
class Stretch:
    """Rows with one adapter: places in percent, `colour` from 1, 0 for the base."""

    x: float
    width: float
    rows: int
    name: str
    colour: int


@dataclass(frozen=True)
class Ribbon:
    """One call of some layers. `seen_at`: where the rows end that the layers really saw."""

    step: str
    layers: tuple[str, ...]
    expected: list[Stretch]
    mapped: list[Stretch]
    seen: int
    seen_at: float
    words: str


def ribbons(found: Sequence[WrongRows]) -> list[Ribbon]:
    """One for each set of wrong rows; an adapter has the same colour in all of them."""
    names = [name for one in found for runs in (one.expected, one.mapped) for name, _ in runs]
    known = [name for name in dict.fromkeys(names) if name]
    colours = {name: 1 + at % COLOURS for at, name in enumerate(known)}
    return [_ribbon(one, colours) for one in found]


def _ribbon(one: WrongRows, colours: dict[str, int]) -> Ribbon:
    expected, mapped = _total(one.expected), _total(one.mapped)
    most = max(expected, mapped, one.seen, 1)
    return Ribbon(
        step=one.step,
        layers=one.layers,
        expected=list(_stretches(one.expected, most, colours)),
        mapped=list(_stretches(one.mapped, most, colours)),
        seen=one.seen,
        seen_at=round(100 * one.seen / most, 2),
        words=f"{one.seen} rows seen, {mapped} mapped, {expected} expected",
    )


def _stretches(runs: Runs, most: int, colours: dict[str, int]) -> Iterator[Stretch]:
    at = 0
    for name, rows in runs:
        x, width = round(100 * at / most, 2), round(100 * rows / most, 2)
        yield Stretch(x, width, rows, name or "base", colours.get(name or "", 0))
        at += rows


def _total(runs: Runs) -> int:
    return sum(rows for _, rows in runs)
