"""Says what stood in for a user's adapter of a published model, and what was not verified."""

from collections import Counter
from collections.abc import Iterator
from typing import TYPE_CHECKING

from mm_lora.adapters.as_found import look
from mm_lora.adapters.kind import Kind
from mm_lora.checks.inspection.bench import bench_on
from mm_lora.checks.inspection.findings import Fate, Inspection
from mm_lora.core.table import Column
from mm_lora.core.table import Kind as Cells
from mm_lora.truth.module_table import of_model

if TYPE_CHECKING:
    from mm_lora.run.context import RunContext

_TITLE = "Your adapters: the kind that the miniature was served with, and the published model"
_COLUMNS = (
    "adapter",
    "model",
    "keys",
    "ranks",
    Column("alpha", Cells.NUMBER),
    "dtype",
    Column("modules served", Cells.COUNT),
    Column("in deeper layers", Cells.COUNT),
    Column("unknown", Cells.COUNT),
    "a server of the published model",
)


def note(context: "RunContext") -> None:
    """A row and sentences for each such adapter, in the report and on the terminal.

    Raises what `mm-lora inspect` raises for the adapter's files.
    """
    for (model, name), kind in context.builds.kinds.items():
        told = fate(_inspected(context, model, name))
        table = context.table("own-kinds", _TITLE, _COLUMNS)
        ranks = ", ".join(map(str, kind.ranks))
        table.add(
            name,
            model,
            kind.spelling,
            ranks,
            kind.spec.alpha,
            kind.spec.dtype,
            len(kind.kept),
            len(kind.deeper),
            len(kind.unknown),
            told,
        )
        context.own_limits += limits(name, model, kind)
        context.progress.say(f"adapter '{name}': {told}")
    context.tell_limits()


def limits(name: str, model: str, kind: Kind) -> Iterator[str]:
    """What the run does not tell of the adapter, in sentences."""
    yield (
        f"the weights of your adapter {name}: it was made for the published {model}, and the "
        f"miniature was served with one of its kind, which has {len(kind.kept)} of its modules, "
        "its ranks, scales, dtype and keys, and random numbers"
    )
    if kind.deeper:
        yield (
            f"{len(kind.deeper)} modules of your adapter {name} in layers that the miniature does "
            f"not have, such as {kind.deeper[0]}"
        )
    if kind.unknown:
        yield (
            f"{len(kind.unknown)} modules of your adapter {name} that no known spelling explains, "
            f"such as {kind.unknown[0]}: they were left out"
        )


def fate(inspection: Inspection) -> str:
    """What becomes of the adapter's tensors on a server of the published model, in a sentence."""
    lost = [one for one in inspection.tensors if one.fate is not Fate.APPLIED]
    of = len(inspection.tensors)
    if not lost:
        return f"by `mm-lora inspect`, all {of} tensors are applied"
    counts = Counter((one.fate.value, one.reason) for one in lost)
    told = "; ".join(f"{count} {how} ({why})" for (how, why), count in counts.most_common(3))
    rest = sum(counts.values()) - sum(count for _, count in counts.most_common(3))
    more = f"; {rest} for other reasons" if rest else ""
    return f"by `mm-lora inspect`, of {of} tensors {told}{more}"


def _inspected(context: "RunContext", model: str, name: str) -> Inspection:
    """The adapter on a server of the published model, by its files and vLLM's source."""
    worker = context.worker
    found = context.model(model)
    bench = bench_on(found, context.vllm.facts, lambda one: of_model(one, worker))
    folder = context.inputs.own[name].path
    return bench.inspected(name, look(folder), numbers=False)
