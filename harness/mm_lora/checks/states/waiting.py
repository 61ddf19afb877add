"""Steps so full of pictures that a request which was begun must wait for the encoder.

A step encodes as many tokens as it has, or as the model's largest picture has where that is more
(vLLM's compute_mm_encoder_budget).
"""

from collections.abc import Sequence
from itertools import product

from mm_lora.checks.isolation.questions import TEXT, request_for
from mm_lora.checks.isolation.servers import STEP
from mm_lora.checks.running import Served
from mm_lora.core.asking import DICE_QUESTION, Picture, Request
from mm_lora.core.skips import NotApplicable, SkipReason
from mm_lora.families.flow import Flow

_TEXTS = 100
"""Tokens of a step that are left for texts and for the beginnings of other prompts."""
_ROLES = ("many", "few", "one")
_MOST = 16
_SIDES = (336, 1000, 2000, 4000)
"""Pixels; every model cuts or scales a picture of the last two down to its largest."""


def counts(flows: Sequence[Flow], budget: int = STEP) -> tuple[int, ...] | None:
    """How many pictures of each size fill a step that encodes `budget` tokens, so that none of the
    largest fits beside them; the fewest. None if that cannot be."""
    least = budget - max(flow.tokens for flow in flows)
    found = []
    for one in product(range(_MOST), repeat=len(flows)):
        pairs = list(zip(one, flows, strict=True))
        prompt = sum(count * flow.prompt_tokens for count, flow in pairs)
        if sum(count * flow.tokens for count, flow in pairs) > least and prompt <= STEP - _TEXTS:
            found.append(one)
    return min(found, key=sum, default=None)


def in_line(served: Served, waiting: str, late: str) -> list[Request]:
    """In this order: two requests of the base that fill a step each, one of `waiting` that begins
    beside the first and whose picture fits into neither, and one of `late` that needs a slot.

    NotApplicable where the model's pictures cannot fill a step so.
    """
    draw = served.family.sizes.picture
    flows = [served.flow(draw(role)) for role in _ROLES]
    pictures = (Picture(width=w, height=h) for w, h in product(_SIDES, repeat=2))
    most = max(served.flow(one).tokens for one in pictures)
    wanted = counts(flows, max(STEP, most))
    if wanted is None:
        raise NotApplicable(SkipReason.NO_FULL_STEP)
    roles = [role for role, count in zip(_ROLES, wanted, strict=True) for _ in range(count)]
    full = [
        Request(
            model=served.base,
            text=DICE_QUESTION,
            pictures=tuple(draw(role, first + at) for at, role in enumerate(roles)),
            top=5,
        )
        for first in (20, 40)
    ]
    _, largest = max((flow.tokens, role) for flow, role in zip(flows, _ROLES, strict=True))
    last = Request(model=waiting, text=DICE_QUESTION, pictures=(draw(largest, 60),), top=5)
    return [*full, last, request_for(served.family, late, TEXT)]
