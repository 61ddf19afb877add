"""Servers whose --lora-target-modules name some layers alone: they start, and those layers act.

What a model calls its layers is not known to who writes the flag: a name may fit others too.
"""

from collections.abc import Callable, Sequence

import pytest

from mm_lora.checks.adapter_use import tensor_names
from mm_lora.checks.compare_coverage import adapter_mismatches
from mm_lora.checks.context import Context
from mm_lora.checks.judging import Judge
from mm_lora.checks.roles import Names, first_connector, first_tower
from mm_lora.checks.row_claims import require_rows, watch
from mm_lora.checks.running import Served
from mm_lora.core.asking import BASE, TEXT_QUESTION, Request
from mm_lora.core.errors import ServerDied
from mm_lora.families.family import Family
from mm_lora.families.modules import ModuleGroup

pytestmark = pytest.mark.full

ADAPTER = "language-v_proj"
START_SHOWN = 1500
"""Characters of the log of a server that does not start."""


def layers(family: Family, paths: Sequence[str]) -> dict[str, list[str]]:
    """The flag with the names, in vLLM, of the layers that these globs are of, as far as the family
    can be served with them."""
    numbered = (path.replace("*", "0").replace("?", "1") for path in paths)
    names = (family.layer_of(path).rpartition(".")[2] for path in numbered)
    works = family.target_modules
    named = [name for name in dict.fromkeys(names) if not works or name in works]
    return {"lora-target-modules": named}


def globs(group: ModuleGroup) -> tuple[str, ...]:
    return tuple(group.projections.values()) or (group.target,)


def of_the_adapter(family: Family) -> dict[str, list[str]]:
    groups = family.groups.values()
    return layers(family, [g.projections[ADAPTER] for g in groups if ADAPTER in g.projections])


def of_the_vision_side(family: Family) -> dict[str, list[str]]:
    return layers(family, [path for group in family.vision for path in globs(group)])


def of_both(family: Family) -> Names:
    return tuple(dict.fromkeys((*first_tower(family), *first_connector(family))))


def where_names_are_chosen(family: Family) -> Names:
    """A family that needs no flag has its layers' rows checked without it."""
    return (BASE, *of_both(family)) if family.target_modules else ()


def started(start: Callable[[], Served], check: Judge) -> Served:
    """The server; its end while starting is a failure, unless it was ended from outside."""
    try:
        return start()
    except ServerDied as death:
        if death.by_signal is not None:
            raise
        check.claim(
            False,
            expected="a server",
            observed=f"{death.what}\n{death.log_tail[-START_SHOWN:]}",
            reason="the server does not start",
        )
        raise


@pytest.mark.check(
    "coverage/{model}/target-modules/one-layer",
    title="a server whose --lora-target-modules name the layer of one adapter starts and uses it",
)
@pytest.mark.server(adapters=(ADAPTER,), probe=True, flags=of_the_adapter)
def test_one_layer(model: str, start: Callable[[], Served], check: Judge, context: Context) -> None:
    served = started(start, check)
    request = Request(model=ADAPTER, text=TEXT_QUESTION, max_tokens=4)
    check.equal([], served.ask(request).problems(request, None), "the answer is not valid")
    built = context.adapters(model, (ADAPTER,))[ADAPTER]
    uses = [use for use in served.probe.adapters() if use.adapter == ADAPTER]
    wrong = [
        str(one)
        for use in uses
        for one in adapter_mismatches(served.family, tensor_names(built.path), built.coverage, use)
    ]
    check.equal([], wrong, "not every tensor is used exactly once")
    check.equal(
        {worker.name for worker in served.workers()},
        {use.worker for use in uses},
        "a worker never activated the adapter",
    )


@pytest.mark.check(
    "arithmetic/{model}/rows/{name}/vision-side-alone",
    title="every layer sees the predicted rows of {name}'s three media where it alone is wrapped",
)
@pytest.mark.server(adapters=of_both, probe=True, flags=of_the_vision_side)
@pytest.mark.each("name", where_names_are_chosen)
def test_vision_side(model: str, name: str, start: Callable[[], Served], check: Judge) -> None:
    served = started(start, check)
    sizes = served.family.sizes
    shapes = (sizes.many, sizes.one, sizes.small[-1])
    media = tuple(sizes.drawn(shape, 700 + at, "noise") for at, shape in enumerate(shapes))
    request = Request(model=name, pictures=media, max_tokens=4)
    require_rows(check, served, watch(served, [request]))
