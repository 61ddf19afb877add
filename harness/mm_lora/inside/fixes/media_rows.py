"""Fix for a step that encodes several media: vLLM maps the rows of all of them once, and runs the
encoder once for each stretch of one medium, so that each run takes its rows from the first on.

With the fix each stretch is mapped by itself before the encoder runs.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field, replace
from typing import Any

from ..registry import Patch

RUNNER = "vllm.v1.worker.gpu_model_runner"
COUNTS = "get_mm_lora_token_counts"


@dataclass
class Step:
    """What was mapped for the media of one step, in their order.

    `map_rows`: the function that a stretch is mapped with. `rows`: (tower's, connector's) of each
    medium. `mapped`: the adapters, and the mapping of all media, tower's first.
    """

    map_rows: Callable[[Any, Any], None]
    rows: list[tuple[int, int | None]] = field(default_factory=list)
    mapped: list[tuple[Any, Any]] = field(default_factory=list)

    def map_stretch(self, first: int, count: int) -> None:
        """Map the rows of `count` media from the one in place `first` on."""
        for kind, (adapters, mapping) in enumerate(self.mapped):
            counts = [rows[kind] or 0 for rows in self.rows]
            start, end = sum(counts[:first]), sum(counts[: first + count])
            mine = replace(
                mapping,
                index_mapping=mapping.index_mapping[start:end],
                prompt_mapping=mapping.prompt_mapping[first : first + count],
            )
            self.map_rows(adapters, mine)


_STEP: ContextVar[Step | None] = ContextVar("media step", default=None)


@contextmanager
def recorded(runner: Any) -> Iterator[None]:
    """What the runner counts and maps meanwhile is kept for each medium."""
    manager, model = runner.lora_manager, runner.model
    step = Step(manager.set_active_adapters)
    count_rows = getattr(model, COUNTS)

    def counted(**asked: Any) -> tuple[int, int | None]:
        step.rows.append(count_rows(**asked))
        return step.rows[-1]

    def mapped(adapters: Any, mapping: Any) -> None:
        step.mapped.append((adapters, mapping))
        step.map_rows(adapters, mapping)

    setattr(model, COUNTS, counted)
    manager.set_active_adapters = mapped
    token = _STEP.set(step)
    try:
        yield
    finally:
        _STEP.reset(token)
        delattr(model, COUNTS)
        del manager.set_active_adapters


def _recording(original: Any) -> Any:
    """Where the step's media are counted, mapped and encoded."""

    def _execute_mm_encoder(self: Any, scheduler_output: Any) -> Any:
        if not (self.lora_config and self.lora_manager.supports_tower_connector_lora()):
            return original(self, scheduler_output)
        with recorded(self):
            return original(self, scheduler_output)

    return _execute_mm_encoder


def _stretches(original: Any) -> Any:
    """What gives the stretches that the encoder runs on, one after the other."""

    def group_and_batch_mm_kwargs(mm_kwargs: Sequence[Any], **options: Any) -> Iterator[Any]:
        step, first = _STEP.get(), 0
        for medium, count, batch in original(mm_kwargs, **options):
            # A stretch of all media is mapped as it is. Its items asked one by one are not ours.
            if step is not None and count < len(step.rows) == len(mm_kwargs):
                step.map_stretch(first, count)
            first += count
            yield medium, count, batch

    return group_and_batch_mm_kwargs


PATCH = Patch(
    id="media-rows",
    kind="fix",
    versions=">=0.28",
    wraps={
        f"{RUNNER}:GPUModelRunner._execute_mm_encoder": _recording,
        f"{RUNNER}:group_and_batch_mm_kwargs": _stretches,
    },
    reason="a step with pictures and videos maps the rows of all, and encodes each medium alone",
)
