"""Ties of a mixture-of-experts router, where rounding alone decides which expert a token gets.

Top-1 routing is not continuous: two correct implementations whose logits differ in the last bit may
send a token to different experts, and the answer's logprobs then differ by 1e-3 and more. Both are
right, so that the reference computes the other side of each tie too.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

TIE = 1e-5
"""Logit distance of the two best experts below which fp32 rounding (about 1e-6) may swap them."""

LARGEST = 3
"""So many ties are swapped, one at a time, the narrowest first; each costs one pass."""


@dataclass(frozen=True, order=True)
class Tie:
    """A token (its row in the pass) whose two best experts of one router are nearly equal."""

    margin: float
    router: str
    row: int


def with_ties(model: Any, compute: Callable[[], list[float]]) -> tuple[list[float], list[Any]]:
    """What `compute` gives, and what it gives with each of the pass's ties on its other side."""
    with _watching(model, None) as ties:
        value = compute()
    others = []
    for tie in sorted(ties)[:LARGEST]:
        with _watching(model, tie):
            others.append(compute())
    return value, others


@contextmanager
def _watching(model: Any, swapped: Tie | None) -> Iterator[list[Tie]]:
    """Collects the ties of a pass; sends one row of one router to its second-best expert."""
    import torch

    ties: list[Tie] = []
    hooks = []

    def hook(name: str) -> Callable[..., Any]:
        def after(router: Any, inputs: Any, output: Any) -> Any:
            scores, logits = output
            best = logits.float().topk(2, dim=-1)
            margins = best.values[:, 0] - best.values[:, 1]
            rows = (margins < TIE).nonzero()[:, 0].tolist()
            ties.extend(Tie(float(margins[row]), name, row) for row in rows)
            if swapped is None or swapped.router != name:
                return None
            row = swapped.row
            other = int(best.indices[row, 1])
            scores = scores.clone()
            scores[row] = 0
            scores[row, other] = torch.sigmoid(best.values[row, 1]).to(scores.dtype)
            return scores, logits

        return after

    for name, module in model.named_modules():
        if type(module).__name__ == "Llama4Router" and module.top_k == 1:
            hooks.append(module.register_forward_hook(hook(name)))
    try:
        yield ties
    finally:
        for one in hooks:
            one.remove()
