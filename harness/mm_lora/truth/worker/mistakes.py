"""Predictors of wrong values: what a server computes that makes a known mistake with an adapter."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import combinations
from pathlib import Path
from typing import Any

from mm_lora.truth.worker.merging import pattern_error, qk_rows_not_permuted

Deltas = Mapping[str, Any]
SHARED_EXPERT = ".shared_expert."


def _qk(model: Any, folder: Path, deltas: Deltas) -> Deltas:
    return qk_rows_not_permuted(model, deltas)


def _without_shared_expert(model: Any, folder: Path, deltas: Deltas) -> Deltas:
    """vLLM before 0.20 clears these layers right after it has filled them."""
    return {path: delta for path, delta in deltas.items() if SHARED_EXPERT not in path}


def _without_patterns(model: Any, folder: Path, deltas: Deltas) -> Deltas:
    """alpha / r of the whole adapter for every module, whatever rank_pattern and alpha_pattern say:
    vLLM before 0.30."""
    errors = pattern_error(folder, deltas)
    return {
        path: delta if errors[path] == 1 else delta * errors[path] for path, delta in deltas.items()
    }


MISTAKES: Mapping[str, Callable[[Any, Path, Deltas], Deltas]] = {
    "language-qk-rows-not-permuted": _qk,
    "shared-expert-without-adapter": _without_shared_expert,
    "rank-pattern-ignored": _without_patterns,
}
"""By name, as `signature` of known_defects.toml says it."""


def wrong(
    names: Iterable[str], model: Any, folder: Path, deltas: Deltas
) -> Iterator[tuple[tuple[str, ...], Deltas]]:
    """Every combination of the named mistakes that this adapter can meet, with its deltas.

    A vLLM may make several at once. Names without a predictor here are passed over.
    """
    met = [
        name
        for name in dict.fromkeys(names)
        if name in MISTAKES and _differs(MISTAKES[name](model, folder, deltas), deltas)
    ]
    for count in range(1, len(met) + 1):
        for several in combinations(met, count):
            made = deltas
            for name in several:
                made = MISTAKES[name](model, folder, made)
            yield several, made


def _differs(wrong: Deltas, right: Deltas) -> bool:
    return wrong.keys() != right.keys() or any(wrong[path] is not right[path] for path in right)
