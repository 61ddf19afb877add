"""What an adapter's numbers say: NaN, zeros, the size of B·A; one pair of tensors at a time."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from mm_lora.adapters.as_found import AsFound
from mm_lora.checks.inspection.keys import meant
from mm_lora.core.errors import UsageError


@dataclass(frozen=True)
class Pair:
    """Of one module. `effect`: ‖scale·B·A‖ (Frobenius), `rank`: effective rank (exp of the entropy
    of the singular values: Roy & Vetterli 2007); None for what is no pair of matrices. `wrong`:
    key → what is wrong with its numbers."""

    effect: float | None
    rank: float | None
    wrong: Mapping[str, str]


def pairs(adapter: AsFound, scales: Mapping[str, float]) -> Iterator[tuple[str, Pair]]:
    """(module as its keys spell it, its numbers); `scales`: module → the factor on its B·A."""
    sides: dict[str, dict[str, str]] = {}
    for key in adapter.heads:
        module, side, _ = meant(key)
        if side:
            sides.setdefault(module, {})[side] = key
    for module, keys in sides.items():
        found = {side: _values(adapter, key) for side, key in keys.items()}
        wrong = dict(_wrong(keys, found))
        a, b = found.get("lora_A"), found.get("lora_B")
        if wrong or a is None or b is None or not _pairs(a, b):
            yield module, Pair(None, None, wrong)
        else:
            effect, rank = product(a, b)
            yield module, Pair(abs(scales.get(module, 1.0)) * effect, rank, wrong)


def _pairs(a: np.ndarray, b: np.ndarray) -> bool:
    return a.ndim == b.ndim == 2 and a.shape[0] == b.shape[1]


def product(a: np.ndarray, b: np.ndarray) -> tuple[float, float]:
    """(‖B·A‖, effective rank) of A [rank, in] and B [out, rank], by r×r matrices alone."""
    ga = a.astype(np.float64) @ a.T.astype(np.float64)
    gb = b.T.astype(np.float64) @ b.astype(np.float64)
    values, vectors = np.linalg.eigh(gb)
    root = (vectors * np.sqrt(np.clip(values, 0, None))) @ vectors.T
    squares = np.clip(np.linalg.eigvalsh(root @ ga @ root), 0, None)
    singular = np.sqrt(squares)
    total = float(singular.sum())
    if total == 0:
        return 0.0, 0.0
    shares = singular[singular > 0] / total
    return math.sqrt(float(squares.sum())), float(np.exp(-(shares * np.log(shares)).sum()))


def mean(numbers: Sequence[float | None]) -> float | None:
    """Of those that are numbers."""
    known = [one for one in numbers if one is not None]
    return sum(known) / len(known) if known else None


def _values(adapter: AsFound, key: str) -> np.ndarray | None:
    try:
        found = adapter.tensor(key)
        return found.values().reshape(found.shape)
    except KeyError:
        return None  # a kind that numpy does not have
    except OSError as error:
        raise UsageError(f"{adapter.files[key]} cannot be read: {error}", "the file") from None


def _wrong(
    keys: Mapping[str, str], found: Mapping[str, np.ndarray | None]
) -> Iterator[tuple[str, str]]:
    for side, values in found.items():
        if values is None:
            continue
        bad = values.size - int(np.isfinite(values).sum())
        if bad:
            kind = "NaN" if np.isnan(values).any() else "infinity"
            yield keys[side], f"{bad} of {values.size} values are {kind}"
        elif not values.any():
            yield (
                keys[side],
                "all zero: not trained, or lost" if side == "lora_B" else "all zero: B·A is zero",
            )
