"""Questions about a picture whose rows are sent in the place of its pixels."""

from dataclasses import replace

import pytest
from _pytest.mark import ParameterSet

from mm_lora.checks.context import Context
from mm_lora.checks.roles import of_each_role
from mm_lora.checks.running import Served
from mm_lora.checks.states.company import Asked
from mm_lora.core.asking import Request
from mm_lora.families.family import Family

WAYS = ("alone", "beside-pixels")


def ways(family: Family) -> list[ParameterSet]:
    """Each of WAYS, to be skipped where the family does not say how its class takes rows."""
    file, name = f"vllm/model_executor/models/{family.vllm.module}.py", family.vllm.name
    lacking = pytest.mark.lacking("any", f"image_embeds of {file}::{name}: none, or not tried")
    known = family.beside_embeds is not None
    return [pytest.param(way, marks=() if known else lacking) for way in WAYS]


def questions(served: Served, context: Context, *, pixels: bool) -> list[Asked]:
    """Rows that the base has made, to the language model's adapter; rows that the tower's adapter
    has made, to the base, whose answer must then be the tower's. With `pixels`, beside the adapters
    of tower and connector, who see. Every picture is another one.
    """
    tower, *others, language = of_each_role(served.family)
    draw = served.family.sizes.picture
    by_base = Request(model=language, pictures=(draw("one", 70),))
    by_tower = Request(model=served.base, pictures=(draw("one", 71),))
    asked = [
        Asked(_in_place(served, context, by_base, served.base)),
        Asked(_in_place(served, context, by_tower, tower), whose=tower),
    ]
    if pixels:
        seeing = ((name, 72 + at) for at, name in enumerate((tower, *others)))
        asked += [
            Asked(Request(model=name, pictures=(draw("one", seed),))) for name, seed in seeing
        ]
    return asked


def _in_place(served: Served, context: Context, request: Request, maker: str) -> Request:
    """The request with its picture's rows as `maker`, the base or an adapter, sees it."""
    family, model = served.family, served.spec.model
    folder = context.folder.path / "embeds"
    folder.mkdir(exist_ok=True)
    (picture,) = request.pictures
    embeds = context.reference.embeds(
        side=family.torch_side,
        checkpoint=context.checkpoint(model),
        adapter=None if maker == served.base else served.built(maker),
        request=request,
        beside=family.beside_embeds or (),
        file=folder / f"{model}-{maker}-{picture.label}.npy",
    )
    return replace(request, embeds=embeds)
