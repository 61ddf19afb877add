"""Token flows that others stated or that a real server showed: what our arithmetic must meet."""

from collections.abc import Callable
from dataclasses import dataclass

from mm_lora.families.llama4.geometry import Geometry, TokenFlow, token_flow

PUBLISHED = Geometry(336, 14, 0.5)
PULL_REQUEST = Geometry(504, 14, 0.5)
_UPSTREAM = "token-flow table of vLLM pull request 35147"
_SERVER = "rows inside a running vLLM 0.32.0"
_PROCESSOR = "prompt of transformers' Llama4Processor"


@dataclass(frozen=True)
class KnownFlow:
    """One stated number: `quantity` of a TokenFlow for a picture of `width` × `height`."""

    geometry: Geometry
    width: int
    height: int
    quantity: str
    value: int
    source: str


KNOWN_FLOWS: tuple[KnownFlow, ...] = (
    KnownFlow(PULL_REQUEST, 504, 504, "encoder_rows", 1297, _UPSTREAM),
    KnownFlow(PULL_REQUEST, 504, 504, "connector_rows", 324, _UPSTREAM),
    KnownFlow(PULL_REQUEST, 700, 400, "chunks", 3, _SERVER),
    KnownFlow(PULL_REQUEST, 700, 400, "encoder_rows", 3891, _SERVER),
    KnownFlow(PULL_REQUEST, 700, 400, "connector_rows", 972, _SERVER),
    KnownFlow(PUBLISHED, 336, 336, "encoder_rows", 577, _SERVER),
    KnownFlow(PUBLISHED, 336, 336, "connector_rows", 144, _SERVER),
    KnownFlow(PUBLISHED, 336, 336, "prompt_tokens", 147, _PROCESSOR),
    KnownFlow(PUBLISHED, 672, 336, "prompt_tokens", 437, _PROCESSOR),
    KnownFlow(PUBLISHED, 700, 400, "chunks", 7, _SERVER),
    KnownFlow(PUBLISHED, 700, 400, "patch_rows", 4032, _SERVER),
    KnownFlow(PUBLISHED, 700, 400, "encoder_rows", 4039, _SERVER),
    KnownFlow(PUBLISHED, 700, 400, "connector_rows", 1008, _SERVER),
    KnownFlow(PUBLISHED, 700, 400, "prompt_tokens", 1017, _PROCESSOR),
)


def unmet(
    flow: Callable[[Geometry, int, int], TokenFlow] = token_flow,
) -> list[tuple[KnownFlow, int]]:
    """The known flows that `flow` does not meet, each with what it said instead."""
    return [
        (known, said)
        for known in KNOWN_FLOWS
        if (said := getattr(flow(known.geometry, known.width, known.height), known.quantity))
        != known.value
    ]
