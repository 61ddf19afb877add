"""Token flows that others stated or a real server showed, and the questions to the count hook."""

from collections.abc import Iterator

from mm_lora.families.flow import HookCase, KnownFlow
from mm_lora.families.llama4.geometry import Geometry

_UPSTREAM = "token-flow table of vLLM pull request 35147"
_SERVER = "rows inside a running vLLM 0.32.0"
_PROCESSOR = "prompt of transformers' Llama4Processor"


def _known(
    model: str, width: int, height: int, quantity: str, value: int, source: str
) -> KnownFlow:
    return KnownFlow(
        model=model, width=width, height=height, quantity=quantity, value=value, source=source
    )


KNOWN_FLOWS: tuple[KnownFlow, ...] = (
    _known("pr35147", 504, 504, "encoder_rows", 1297, _UPSTREAM),
    _known("pr35147", 504, 504, "connector_rows", 324, _UPSTREAM),
    _known("pr35147", 700, 400, "chunks", 3, _SERVER),
    _known("pr35147", 700, 400, "encoder_rows", 3891, _SERVER),
    _known("pr35147", 700, 400, "connector_rows", 972, _SERVER),
    _known("scout", 336, 336, "encoder_rows", 577, _SERVER),
    _known("scout", 336, 336, "connector_rows", 144, _SERVER),
    _known("scout", 336, 336, "prompt_tokens", 147, _PROCESSOR),
    _known("scout", 672, 336, "prompt_tokens", 437, _PROCESSOR),
    _known("scout", 700, 400, "chunks", 7, _SERVER),
    _known("scout", 700, 400, "patch_rows", 4032, _SERVER),
    _known("scout", 700, 400, "encoder_rows", 4039, _SERVER),
    _known("scout", 700, 400, "connector_rows", 1008, _SERVER),
    _known("scout", 700, 400, "prompt_tokens", 1017, _PROCESSOR),
)


def hook_cases(geometry: Geometry) -> tuple[HookCase, ...]:
    """1 … max_chunks + 1 whole chunks, then numbers that no picture has."""
    return (*_whole(geometry), *_odd(geometry))


def _whole(geometry: Geometry) -> Iterator[HookCase]:
    for chunks in range(1, geometry.max_chunks + 2):
        yield HookCase(
            label=f"{chunks} chunks",
            tokens=chunks * geometry.connector_rows,
            tower=chunks * geometry.encoder_rows,
            connector=chunks * geometry.connector_rows,
        )


def _odd(geometry: Geometry) -> Iterator[HookCase]:
    """Zero, negative, and no multiple of a chunk: there is no right answer to them."""
    chunk = geometry.connector_rows
    for tokens in (0, -1, -chunk, 1, chunk - 1, chunk + 1, 2 * chunk - 1, 7 * chunk + 1):
        yield HookCase(label=f"{tokens} image tokens", tokens=tokens)
