"""Compares our token arithmetic with what transformers' processor and vLLM's class answered.

Pure: takes recorded answers, returns the mismatches, so that a stored run can be judged again.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mm_lora.families.llama4.geometry import Geometry, TokenFlow
from mm_lora.serving.hook_client import HookAnswer, HookAnswers

PROCESSOR_QUANTITIES = (
    "tile_rows",
    "tile_columns",
    "chunks",
    "image_tokens",
    "prompt_tokens",
)


@dataclass(frozen=True)
class Mismatch:
    """A number or name that differs: `where` (model, picture, module), `what`, both values."""

    where: str
    what: str
    expected: object
    observed: object

    def __str__(self) -> str:
        return f"{self.where}: {self.what} is {self.observed}, expected {self.expected}"


def processor_mismatches(
    expected: Sequence[TokenFlow],
    observed: Sequence[Mapping[str, Any]],
    *,
    where: str = "",
) -> list[Mismatch]:
    """Our flows of one prompt's pictures against the counts of `worker/processor_counts.py`."""
    if len(expected) != len(observed):
        return [Mismatch(where, "pictures in the prompt", len(expected), len(observed))]
    return [
        Mismatch(f"{where} {counts['name']}".strip(), quantity, getattr(flow, quantity), said)
        for flow, counts in zip(expected, observed, strict=True)
        for quantity in PROCESSOR_QUANTITIES
        if (said := counts[quantity]) != getattr(flow, quantity)
    ]


def hook_mismatches(
    geometry: Geometry, answer: HookAnswer, kinds: Mapping[str, str]
) -> list[Mismatch]:
    """Our rows per chunk and our `kinds` (module path → wrapper kind) against vLLM's class.

    Counts asked for numbers of image tokens that are no whole chunks are not compared here: there
    is no right answer to them (see `odd_counts`).
    """
    return [*_count_mismatches(geometry, answer), *_wrapper_mismatches(answer, kinds)]


def capability_mismatches(answers: HookAnswers) -> list[Mismatch]:
    """Hook points that are gone, and the capability flag where the hook's generation has one."""
    found = [Mismatch("vLLM", "hook point", name, "missing") for name in answers.missing]
    if answers.generation == "counts" and answers.flag is not True:
        found.append(Mismatch("vLLM", "supports_tower_connector_lora", True, answers.flag))
    return found


def odd_counts(geometry: Geometry, answer: HookAnswer) -> list[str]:
    """What vLLM does with zero, negative and non-multiple inputs, one plain line each."""
    lines = []
    for count in answer.counts:
        if _is_whole(geometry, count.embeds):
            continue
        if count.raised:
            lines.append(f"{count.embeds} image tokens: raises {count.raised}")
            continue
        whole = max(0, count.embeds) // geometry.connector_rows
        fate = "as 0 chunks" if not count.tower else f"as {whole} whole chunks"
        rest = count.embeds - whole * geometry.connector_rows
        dropped = f", {rest} tokens dropped in silence" if count.embeds > 0 and rest else ""
        lines.append(
            f"{count.embeds} image tokens: tower {count.tower}, connector {count.connector} "
            f"({fate}{dropped})"
        )
    return lines


def _is_whole(geometry: Geometry, embeds: int) -> bool:
    return embeds > 0 and embeds % geometry.connector_rows == 0


def _count_mismatches(geometry: Geometry, answer: HookAnswer) -> Iterable[Mismatch]:
    if not any(_is_whole(geometry, count.embeds) for count in answer.counts):
        yield Mismatch(answer.name, "counts of whole chunks", "at least one", "none")
    for count in answer.counts:
        if not _is_whole(geometry, count.embeds):
            continue
        chunks = count.embeds // geometry.connector_rows
        where = f"{answer.name} {chunks} chunks"
        if count.raised:
            yield Mismatch(where, "the count hook", "two counts", count.raised)
            continue
        for what, rows, said in (
            ("encoder rows", chunks * geometry.encoder_rows, count.tower),
            ("connector rows", chunks * geometry.connector_rows, count.connector),
        ):
            if said != rows:
                yield Mismatch(where, what, rows, said)


def _wrapper_mismatches(answer: HookAnswer, kinds: Mapping[str, str]) -> Iterable[Mismatch]:
    for path, kind in kinds.items():
        said = answer.wrappers.get(path)
        if said != kind:
            yield Mismatch(f"{answer.name} {path}", "wrapper", kind, said)
