"""mRoPE's positions after a video, as the Qwen2-VL paper (section 2.1) numbers them.

Each medium begins after the greatest position of what is before it, on whichever axis. Since its
version 5, transformers lets what follows a video begin after the greatest of its rows and columns
alone, so that it overlaps with a video's later frames (transformers pull request 35569 had it
right; issue 45381 shows positions of both).
"""

from collections.abc import Callable, Sequence
from functools import wraps
from typing import Any

VIDEO = 2
"""In `mm_token_type_ids`."""


def stretches(kinds: Sequence[int], kind: int) -> list[tuple[int, int]]:
    """(first, end) of each stretch of neighbours that are `kind`."""
    edges = [at for at in range(1, len(kinds)) if kinds[at] != kinds[at - 1]]
    bounds = zip([0, *edges], [*edges, len(kinds)], strict=True)
    return [(first, end) for first, end in bounds if kinds[first] == kind]


def after_the_greatest(original: Callable[..., Any]) -> Callable[..., Any]:
    """`get_rope_index` of a model, for a batch of one: what follows a video moves on.

    Positions are [3, 1, tokens], their shifts for decoding [1, 1]. Nothing moves where it is right.
    """

    @wraps(original)
    def get_rope_index(*given: Any, **named: Any) -> Any:
        positions, deltas = original(*given, **named)
        kinds = named.get("mm_token_type_ids")
        if kinds is None:  # before transformers 5
            return positions, deltas
        positions, deltas = positions.clone(), deltas.clone()
        for first, end in stretches(kinds[0].tolist(), VIDEO):
            if end == positions.shape[-1]:
                continue
            begins = int(positions[:, 0, first:end].max()) + 1
            shift = max(0, begins - int(positions[0, 0, end]))
            positions[..., end:] += shift
            deltas += shift
        return positions, deltas

    return get_rope_index
