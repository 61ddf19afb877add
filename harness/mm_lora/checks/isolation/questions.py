"""What the tenants ask: pictures of one and many units, two pictures, text, long text."""

import random
from collections.abc import Mapping, Sequence
from functools import cache

from mm_lora.core.asking import DICE_QUESTION, TEXT_QUESTION, Request, Shown
from mm_lora.families.family import Family

_SAID = "Dice number {} shows {} pips and lies on the left of the next one. "
LONG_TEXT = "".join(_SAID.format(i, 1 + i * 7 % 6) for i in range(1, 41)) + DICE_QUESTION

ONE, FEW, MANY, TWO = "one", "few", "many", "two-pictures"
TEXT, LONG, LONG_PICTURE = "text", "long-text", "long-text-picture"


@cache
def questions(family: Family) -> Mapping[str, tuple[str, tuple[Shown, ...]]]:
    """Question → its text and pictures, by their size's role; those alone that a prompt holds."""
    draw = family.sizes.picture
    known: dict[str, tuple[str, tuple[Shown, ...]]] = {
        ONE: (DICE_QUESTION, (draw("one"),)),
        FEW: (DICE_QUESTION, (draw("few"),)),
        MANY: (DICE_QUESTION, (draw("many"),)),
        TWO: (DICE_QUESTION, (draw("one", seed=2), draw("few", seed=1))),
        TEXT: (TEXT_QUESTION, ()),
        LONG: (LONG_TEXT, ()),
        LONG_PICTURE: (LONG_TEXT, (draw("few", seed=3),)),
    }
    return {name: one for name, one in known.items() if family.holds(one[1])}


_LENGTHS = (16, 6, 24, 11, 32)
"""Answers end in different steps, so that the rows of a batch move."""


def request_for(family: Family, tenant: str, question: str, max_tokens: int = 16) -> Request:
    """One tenant's request; several tokens a place tell tenants apart without a reference."""
    text, pictures = questions(family)[question]
    return Request(model=tenant, text=text, pictures=pictures, max_tokens=max_tokens, top=5)


def everyone(family: Family, tenants: Sequence[str], *, text: Sequence[str]) -> list[Request]:
    """Each tenant once with a picture, another one than its neighbours', and `text` tenants once
    without, between them; answers of different lengths."""
    pictured = [one for one in (ONE, MANY, FEW, TWO) if one in questions(family)]
    wanted = []
    for at, tenant in enumerate(tenants):
        wanted.append((tenant, pictured[at % len(pictured)]))
        if tenant in text:
            wanted.append((tenant, TEXT))
    return [
        request_for(family, *one, _LENGTHS[at % len(_LENGTHS)]) for at, one in enumerate(wanted)
    ]


def anyone(
    family: Family,
    tenants: Sequence[str],
    count: int,
    chance: random.Random,
) -> list[Request]:
    """`count` requests of random tenants, questions and lengths."""
    every = tuple(questions(family))
    return [
        request_for(family, chance.choice(tenants), chance.choice(every), chance.choice(_LENGTHS))
        for _ in range(count)
    ]


def smallest(
    family: Family,
    tenants: Sequence[str],
    count: int,
    chance: random.Random,
) -> list[Request]:
    """One request each of `count` random tenants, or of all where there are fewer, about a picture
    of one unit: a step holds two of them."""
    drawn = chance.sample(tuple(tenants), min(count, len(tenants)))
    return [request_for(family, tenant, ONE, chance.choice(_LENGTHS)) for tenant in drawn]
