"""The servers on which features of vLLM meet adapters: as few as can have them all.

`GUESSING`: guesses tokens by n-grams, which never goes with asynchronous scheduling, and takes
pictures' rows in place of pixels. `DEFAULT`: an adapter for whoever asks the base about a medium,
and asynchronous scheduling. `TWO_ENGINES`: two engines side by side.
"""

import json

import pytest

from mm_lora.adapters.sets import ALL
from mm_lora.checks.roles import Names, of_each_role
from mm_lora.families.family import Family
from mm_lora.serving.server.command import DEFAULT_ADAPTERS
from mm_lora.serving.server.spec import PlainValue

GUESSES = 3
ENGINES = 2


def guessing(family: Family) -> dict[str, PlainValue]:
    """Any token that was there before gives a guess."""
    speculation = {
        "method": "ngram",
        "num_speculative_tokens": GUESSES,
        "prompt_lookup_min": 1,
        "prompt_lookup_max": 3,
    }
    return {
        "speculative-config": json.dumps(speculation),
        "no-async-scheduling": True,
        "enable-mm-embeds": True,
    }


def with_default(family: Family) -> Names:
    """Whom the server with a default adapter has."""
    return (*of_each_role(family), ALL)


def default(family: Family) -> dict[str, PlainValue]:
    """The default is `all`, whose loss would be seen in every part of the model; it takes a slot
    of its own, and one stays free."""
    return {
        DEFAULT_ADAPTERS: json.dumps({family.media[0]: ALL}),
        "max-loras": len(with_default(family)) + 2,
        "async-scheduling": True,
    }


GUESSING = pytest.mark.server(adapters=of_each_role, flags=guessing, probe=True)
DEFAULT = pytest.mark.server(adapters=with_default, flags=default, probe=True)
# On a CPU vLLM binds each engine to cores of its own.
TWO_ENGINES = pytest.mark.server(
    adapters=of_each_role,
    flags={"data-parallel-size": ENGINES},
    env={"VLLM_CPU_OMP_THREADS_BIND": "0|1"},
)
ASLEEP = pytest.mark.server(adapters=of_each_role, flags={"enable-sleep-mode": True}, probe=True)
