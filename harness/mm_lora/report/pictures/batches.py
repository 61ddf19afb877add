"""Who met whom in mixed batches: a server's steps as columns, its requests as rows."""

from collections.abc import Sequence
from dataclasses import dataclass

from mm_lora.report.evidence import ServerSteps
from mm_lora.report.pictures.ribbon import COLOURS
from mm_lora.serving.probe_records import Step

MOST_STEPS, MOST_REQUESTS = 28, 14


@dataclass(frozen=True)
class Cell:
    """A request in a step: `tokens` of its prompt or answer, `pictures` encoded in it."""

    step: int
    tokens: int
    pictures: int


@dataclass(frozen=True)
class Tenant:
    """One request of a batch: its adapter, `colour` from 1, 0 for the base."""

    name: str
    colour: int
    cells: list[Cell]


@dataclass(frozen=True)
class BatchTimeline:
    """The stretch of a server's steps in which most tenants met. `mixed`, `encoded`: how many of
    all its steps had rows, or media, of several tenants."""

    label: str
    steps: list[int]
    tenants: list[Tenant]
    mixed: int
    encoded: int


def batch_timelines(servers: Sequence[ServerSteps]) -> list[BatchTimeline]:
    """One for each server in whose steps tenants met."""
    return [found for server in servers if (found := _timeline(server)) is not None]


def _timeline(server: ServerSteps) -> BatchTimeline | None:
    by_number: dict[int, list[Step]] = {}
    for step in server.steps:
        by_number.setdefault(step.number, []).append(step)
    numbers = list(by_number)
    met = [max(_adapters(step) for step in by_number[number]) for number in numbers]
    if max(met, default=0) < 2:
        return None
    starts = range(max(1, len(numbers) - MOST_STEPS + 1))
    first = max(starts, key=lambda at: sum(n for n in met[at : at + MOST_STEPS] if n > 1))
    stretch = numbers[first : first + MOST_STEPS]
    while stretch and met[numbers.index(stretch[0])] < 2:  # begin where tenants meet
        stretch.pop(0)
    kinds = {kind: [s for s in server.steps if s.kind == kind] for kind in ("language", "encoder")}
    return BatchTimeline(
        label=server.label,
        steps=stretch,
        tenants=_tenants({number: by_number[number] for number in stretch}),
        mixed=sum(_adapters(step) > 1 for step in kinds["language"]),
        encoded=len({step.number for step in kinds["encoder"] if _adapters(step) > 1}),
    )


def _tenants(stretch: dict[int, list[Step]]) -> list[Tenant]:
    """The requests in the order in which they came; those that met nobody are left out."""
    cells: dict[str, list[Cell]] = {}
    adapters: dict[str, str | None] = {}
    in_company = set()
    for place, steps in enumerate(stretch.values()):
        for step in steps:
            if _adapters(step) > 1:
                in_company |= {request.id for request in step.requests}
            for request in step.requests:
                adapters[request.id] = request.adapter
                mine = cells.setdefault(request.id, [])
                if not mine or mine[-1].step != place:
                    mine.append(Cell(place, request.tokens, len(request.images)))
    names = [name for name in dict.fromkeys(adapters.values()) if name]
    colours = {name: 1 + at % COLOURS for at, name in enumerate(names)}
    kept = [name for name in cells if name in in_company][:MOST_REQUESTS]
    return [
        Tenant(adapters[one] or "base", colours.get(adapters[one] or "", 0), cells[one])
        for one in kept
    ]


def _adapters(step: Step) -> int:
    return len({request.adapter for request in step.requests})
