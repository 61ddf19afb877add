"""The servers on which tenants are kept apart, and the marks that put a case on each of them.

As few as possible, each with several things that could go wrong: a failure is then reduced.
"""

from collections.abc import Mapping
from functools import partial
from typing import Any

import pytest

from mm_lora.checks.roles import Names, Role, everyone, tenants
from mm_lora.core.asking import BASE
from mm_lora.families.family import Family
from mm_lora.serving.server.spec import PlainValue

Flags = dict[str, PlainValue]

STEP = 4096
"""Tokens of a step on one slot, as many as the longest prompt has: two requests with pictures then
fill a step."""

SERVERS = ("free-slots", "every-slot", "few-slots", "one-slot")


def flags(server: str, family: Family) -> Flags:
    """The flags that make a server what its name says."""
    pieces = {"max-num-batched-tokens": family.piece}
    of: Mapping[str, Flags] = {
        "free-slots": {},
        "every-slot": {"max-loras": len(everyone(family))},
        "few-slots": {"max-loras": 3, "mm-processor-cache-gb": 0, **pieces},
        "one-slot": {
            "max-loras": 1,
            "no-enable-prefix-caching": True,
            "max-num-batched-tokens": STEP,
        },
    }
    return of[server]


def at_once(server: str, family: Family) -> int:
    """How many adapters a step must have had for a batch to use the server's slots."""
    every = len(everyone(family))
    return {"every-slot": every, "few-slots": 3, "one-slot": 1, "free-slots": 2}[server]


def to_draw_from(server: str, family: Family) -> Names:
    """The tenants of random requests. In one slot an adapter meets nobody but the base, so there
    the base is as likely as all others together."""
    adapters = everyone(family)
    return tenants(family) if at_once(server, family) > 1 else (BASE,) * len(adapters) + adapters


TWO_RANKS: Mapping[str, Flags] = {
    "tensor": {"tensor-parallel-size": 2},
    "data-encoder": {"tensor-parallel-size": 2, "mm-encoder-tp-mode": "data"},
}
# On a CPU vLLM binds each rank to cores of its own; two ranks on the same cores take turns.
_ENVIRONMENT = {"VLLM_CPU_OMP_THREADS_BIND": "0|1"}


def on(server: str, *, core: bool = False) -> Any:
    """A pytest parameter for a case on that server; only one that has free slots is in the core."""
    mark = pytest.mark.server(adapters=everyone, flags=partial(flags, server), probe=True)
    return pytest.param(server, marks=[mark] if core else [mark, pytest.mark.full], id=server)


def on_two_ranks(mode: str, adapters: Role) -> Any:
    """The mark of a case on a server with tensor parallelism, see TWO_RANKS."""
    return pytest.mark.server(
        adapters=adapters, flags=TWO_RANKS[mode], env=_ENVIRONMENT, probe=True
    )
