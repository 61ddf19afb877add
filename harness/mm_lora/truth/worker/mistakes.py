"""Predictors: the wrong values of a server that makes a known mistake with an adapter."""

from collections.abc import Iterable, Iterator, Mapping
from itertools import combinations
from pathlib import Path
from typing import Any

from mm_lora.families.torch_side import Mistake, TorchSide
from mm_lora.truth.worker.merging import pattern_error

Deltas = Mapping[str, Any]


def _without_patterns(model: Any, folder: Path, deltas: Deltas) -> Deltas:
    """alpha / r of the whole adapter for every module, whatever rank_pattern and alpha_pattern say:
    vLLM before 0.30."""
    errors = pattern_error(folder, deltas)
    return {
        path: delta if errors[path] == 1 else delta * errors[path] for path, delta in deltas.items()
    }


GENERAL: Mapping[str, Mistake] = {"rank-pattern-ignored": _without_patterns}
"""Of any family, by name; those of one are its torch side's."""


def wrong(
    side: TorchSide, names: Iterable[str], model: Any, folder: Path, deltas: Deltas
) -> Iterator[tuple[tuple[str, ...], Deltas]]:
    """Every combination of the named mistakes that this adapter can meet, with its deltas.

    A vLLM may make several at once. Names without a predictor here are passed over.
    """
    known = {**GENERAL, **side.mistakes}
    met = [
        name
        for name in dict.fromkeys(names)
        if name in known and _differs(known[name](model, folder, deltas), deltas)
    ]
    for count in range(1, len(met) + 1):
        for several in combinations(met, count):
            made = deltas
            for name in several:
                made = known[name](model, folder, made)
            yield several, made


def _differs(wrong: Deltas, right: Deltas) -> bool:
    return wrong.keys() != right.keys() or any(wrong[path] is not right[path] for path in right)
