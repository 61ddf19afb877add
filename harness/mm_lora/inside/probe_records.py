"""Turns the notes of the probe's hooks during one step into small JSON records. Pure."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any

LANGUAGE = "language"
ENCODER = "encoder"

Run = tuple[int, int]
"""(adapter id, rows): consecutive rows that got the same adapter; id 0 is the base."""


@dataclass(frozen=True, eq=False)
class Mapped:
    """What vLLM last set in one punica wrapper: how many rows, and which adapter each got.

    Compared by identity, which is cheap: every setting has its own `version`.
    """

    wrapper: str
    version: int
    rows: int
    runs: tuple[Run, ...]


Call = tuple[int, int, Mapped | None]
"""(module index, rows that it really saw, what was mapped at that moment)."""


@dataclass
class Step:
    """One call of the model runner, while it runs."""

    number: int
    requests: list[dict[str, Any]]
    calls: dict[str, list[list[Call]]] = field(default_factory=dict)
    raised: str | None = None
    batch: list[str] = field(default_factory=list)


def runs_of(ids: Iterable[int]) -> tuple[Run, ...]:
    """Run-length encoding: one (adapter id, rows) per stretch of equal ids."""
    return tuple((int(value), sum(1 for _ in stretch)) for value, stretch in groupby(ids))


def records(step: Step, names: Mapping[int, str]) -> list[dict[str, Any]]:
    """The lines of one step but its number: one for each pass of the encoder, one for the language
    model.

    An exception ended the last pass that had begun.
    """
    passes = [(kind, calls) for kind, all_ in step.calls.items() for calls in all_ if calls]
    if step.raised is not None and not passes:
        passes = [(LANGUAGE, [])]
    lines = [_record(step, kind, calls, names) for kind, calls in passes]
    if step.raised is not None:
        lines[-1]["raised"] = step.raised
    return lines


def _record(
    step: Step, kind: str, calls: Sequence[Call], names: Mapping[int, str]
) -> dict[str, Any]:
    groups: dict[tuple[int, Mapped | None], list[int]] = {}
    mapped: dict[str, Mapped] = {}
    for index, rows, seen in calls:
        groups.setdefault((rows, seen), []).append(index)
        if seen is not None:
            mapped[_key(seen)] = seen
    return {
        "kind": kind,
        "requests": _in_order(step, kind),
        "calls": [
            [rows, None if seen is None else _key(seen), ranges(indices)]
            for (rows, seen), indices in groups.items()
        ],
        "mapped": {
            key: {
                "wrapper": seen.wrapper,
                "rows": seen.rows,
                "runs": [[names.get(i, f"#{i}") if i else None, rows] for i, rows in seen.runs],
            }
            for key, seen in mapped.items()
        },
    }


def _in_order(step: Step, kind: str) -> list[dict[str, Any]]:
    """The requests of one pass, in the order of their rows.

    The encoder has those with pictures to encode, in the scheduler's order; the language model has
    all, in the batch's order where the model runner tells it.
    """
    if kind == ENCODER:
        return [request for request in step.requests if request["images"]]
    place = {name: i for i, name in enumerate(step.batch)}
    return sorted(step.requests, key=lambda request: place.get(request["id"], len(place)))


def _key(mapped: Mapped) -> str:
    return f"{mapped.wrapper}.{mapped.version}"


def ranges(indices: Sequence[int]) -> list[list[int]]:
    """[first, last] of each stretch of consecutive numbers, in the order in which they came."""
    stretches: list[list[int]] = []
    for index in indices:
        if stretches and stretches[-1][1] + 1 == index:
            stretches[-1][1] = index
        else:
            stretches.append([index, index])
    return stretches


def longest_prefix(path: str, mapping: Mapping[str, Sequence[str]]) -> str | None:
    """The kind whose prefix matches `path` longest: our own rule beside vLLM's."""
    fits = [
        (len(prefix), kind)
        for kind, prefixes in mapping.items()
        for prefix in prefixes
        if path.startswith(prefix)
    ]
    return max(fits)[1] if fits else None
