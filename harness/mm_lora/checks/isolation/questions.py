"""What the tenants ask: pictures of one and many chunks, two pictures, text, long text."""

import random
from collections.abc import Mapping, Sequence

from mm_lora.adapters.spec import STANDARD
from mm_lora.core.asking import DICE_QUESTION, TEXT_QUESTION, Picture, Request

ADAPTERS = tuple(name for name in STANDARD if name != "patch-embedding")
"""Patch embedding kills a CPU server that wraps it, so that no profile serves it here."""

_SAID = "Dice number {} shows {} pips and lies on the left of the next one. "
LONG_TEXT = "".join(_SAID.format(i, 1 + i * 7 % 6) for i in range(1, 41)) + DICE_QUESTION

QUESTIONS: Mapping[str, tuple[str, tuple[Picture, ...]]] = {
    "1-chunk": (DICE_QUESTION, (Picture(width=336, height=336),)),
    "3-chunks": (DICE_QUESTION, (Picture(width=400, height=300),)),
    "7-chunks": (DICE_QUESTION, (Picture(width=700, height=400),)),
    "two-pictures": (
        DICE_QUESTION,
        (Picture(width=336, height=336, seed=2), Picture(width=400, height=300, seed=1)),
    ),
    "text": (TEXT_QUESTION, ()),
    "long-text": (LONG_TEXT, ()),
    "long-text-picture": (LONG_TEXT, (Picture(width=400, height=300, seed=3),)),
}
_LENGTHS = (16, 6, 24, 11, 32)
"""Answers end in different steps, so that the rows of a batch move."""


def asked(tenant: str, question: str, max_tokens: int = 16) -> Request:
    """One tenant's request; several tokens a place tell tenants apart without a reference."""
    text, pictures = QUESTIONS[question]
    return Request(model=tenant, text=text, pictures=pictures, max_tokens=max_tokens, top=5)


def everyone(tenants: Sequence[str], *, text: Sequence[str]) -> list[Request]:
    """Each tenant once with a picture, another one than its neighbours', and `text` tenants once
    without, between them; answers of different lengths."""
    pictured = ("1-chunk", "7-chunks", "3-chunks", "two-pictures")
    wanted = []
    for at, tenant in enumerate(tenants):
        wanted.append((tenant, pictured[at % len(pictured)]))
        if tenant in text:
            wanted.append((tenant, "text"))
    return [asked(*one, _LENGTHS[at % len(_LENGTHS)]) for at, one in enumerate(wanted)]


def anyone(
    tenants: Sequence[str],
    count: int,
    chance: random.Random,
    questions: Sequence[str] = tuple(QUESTIONS),
) -> list[Request]:
    """`count` requests of random tenants, questions and lengths."""
    return [
        asked(chance.choice(tenants), chance.choice(questions), chance.choice(_LENGTHS))
        for _ in range(count)
    ]
