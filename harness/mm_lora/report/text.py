"""How values are written for people: numbers, durations, expected and observed values."""

import json
import math
from dataclasses import dataclass
from typing import Any

MOST_TOKENS = 32
_LINES = 24


def number(value: Any) -> str:
    """A measured number in three digits; nothing for none."""
    return f"{value:.3g}" if isinstance(value, int | float) else str(value or "")


def clock(seconds: float) -> str:
    """`4.2 s`, `2 min 24 s`, `1 h 5 min`."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {rest} s"


def short(value: Any, limit: int = 300) -> str:
    """A value on one line, cut in the middle when it is long."""
    text = str(value)
    return text if len(text) <= limit else f"{text[: limit // 2]} … {text[-limit // 2 :]}"


def lines(value: Any, limit: int = 2400) -> str:
    """An expected or observed value on as many lines as it has parts; long ones are cut."""
    if isinstance(value, list | tuple) and value and all(isinstance(one, str) for one in value):
        more = [f"… and {len(value) - _LINES} more"] if len(value) > _LINES else []
        return short("\n".join([*value[:_LINES], *more]), limit)
    if _numbers(value):
        shown = ", ".join(f"{one:.5f}" for one in value[:8])
        return shown + (f", … ({len(value)} numbers)" if len(value) > 8 else "")
    if isinstance(value, str):
        return short(value, limit) or "nothing"
    if value is None or value == []:
        return "nothing"
    return short(json.dumps(value, ensure_ascii=False, default=str), limit)


@dataclass(frozen=True)
class Token:
    """One place of an answer: logprobs and how far they are apart; `worst` for the farthest."""

    place: int
    expected: float
    observed: float
    apart: float
    worst: bool


def tokens(expected: Any, observed: Any) -> list[Token]:
    """Token by token, where both are logprobs of one answer, with or without its text before them;
    empty for other values, and for two that are the same."""
    pair = [_logprobs(value) for value in (expected, observed)]
    if not all(pair) or pair[0] == pair[1]:
        return []
    apart = [abs(a - b) for a, b in zip(*pair, strict=False)]
    worst = max(apart, default=math.inf)
    return [
        Token(place + 1, a, b, off, off == worst)
        for place, (a, b, off) in enumerate(zip(*pair, apart, strict=False))
    ][:MOST_TOKENS]


def _logprobs(value: Any) -> list[float]:
    if isinstance(value, list | tuple) and len(value) == 2 and isinstance(value[0], str):
        value = value[1]
    return list(value) if _numbers(value) else []


def _numbers(value: Any) -> bool:
    return (
        isinstance(value, list | tuple)
        and bool(value)
        and all(isinstance(one, float) for one in value)
    )
