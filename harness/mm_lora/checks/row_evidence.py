"""What recorded steps prove: mismatches, encoded pictures, batches, measured rows.

Pure: takes the probe's records and the requests that were sent, so that a stored run can be judged
again.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from mm_lora.checks.compare_rows import Sent, encoder_passes, sent_as, step_mismatches
from mm_lora.checks.mismatch import Mismatch
from mm_lora.families.family import Family
from mm_lora.families.modules import CONNECTOR, TOWER
from mm_lora.serving.probe_records import Observed, Step, Worker


@dataclass(frozen=True)
class Evidence:
    """`steps`: those of the sent requests alone. `foreign`: steps that also, or only, served a
    request that nobody here sent; they are set aside. `encoded`: (worker, request, picture) →
    how often it was encoded. `lost`: lines that the worker dropped or that could not be read."""

    steps: tuple[Step, ...]
    mismatches: tuple[Mismatch, ...]
    encoded: Mapping[tuple[str, str, int], int]
    foreign: int
    lost: int

    def largest_batch(self, kind: str) -> int:
        """The most requests that one pass of that kind ("encoder", "language") served."""
        return max((len(step.requests) for step in self.steps if step.kind == kind), default=0)

    def most_adapters(self, kind: str) -> int:
        """The most different adapters, the base counted as one, in one pass of that kind."""
        return max(
            (len({r.adapter for r in step.requests}) for step in self.steps if step.kind == kind),
            default=0,
        )

    def batches(self) -> list[str]:
        """Every pass that served several requests, for a reader."""
        return [
            f"step {step.number} {step.kind}: "
            + ", ".join(f"{r.adapter or 'base'} ({len(r.images)} pictures)" for r in step.requests)
            for step in self.steps
            if len(step.requests) > 1
        ]

    @property
    def layers(self) -> int:
        """How many wrapped layers were called, each counted once."""
        return len({path for step in self.steps for call in step.calls for path in call.paths})


def evidence(
    family: Family, workers: Sequence[Worker], seen: Observed, sent: Mapping[str, Sent]
) -> Evidence:
    """`sent`: id of the answer → request as it was sent."""
    by_name = {worker.name: worker for worker in workers}
    keys: dict[str, str | None] = {}
    steps: list[Step] = []
    found: list[Mismatch] = []
    encoded: Counter[tuple[str, str, int]] = Counter()
    for step, place in zip(seen.steps, encoder_passes(seen.steps), strict=True):
        for request in step.requests:
            if request.id not in keys:
                keys[request.id] = sent_as(request, sent)
        named = {r.id: sent[key] for r in step.requests if (key := keys[r.id]) is not None}
        if len(named) < len(step.requests):
            continue
        steps.append(step)
        found += step_mismatches(family, by_name[step.worker], step, named, place)
        if step.kind == "encoder" and place == 0:  # each pass names all that its step encodes
            encoded.update(
                (step.worker, keys[request.id] or "", index)
                for request in step.requests
                for index in request.images
            )
    return Evidence(
        steps=tuple(steps),
        mismatches=tuple(found),
        encoded=encoded,
        foreign=len(seen.steps) - len(steps),
        lost=seen.lost + seen.torn,
    )


def not_once(workers: Sequence[Worker], sent: Mapping[str, Sent], seen: Evidence) -> list[str]:
    """The sent pictures that a worker did not encode exactly once, for a reader."""
    return [
        f"{worker.name}: picture {index + 1} of {name} encoded {times} times"
        for worker in workers
        for name, one in sent.items()
        for index in range(len(one.flows))
        if (times := seen.encoded.get((worker.name, name, index), 0)) != 1
    ]


def measured(family: Family, worker: Worker, steps: Sequence[Step]) -> str:
    """Rows inside the layers, `tower / connector`, of steps that encoded one medium in all.

    Each is one number if every layer that sees the role's own rows saw it and was mapped it, else
    all that differ.
    """
    kinds = {}
    for module in worker.modules:
        group = family.group_of_layer(module.parts)
        if group is not None and group.rows == family.mapped.get(group.role):
            kinds[module.path] = group.role
    rows: dict[str, set[str]] = {TOWER: set(), CONNECTOR: set()}
    for step in steps:
        for call in step.calls:
            mapped = call.mapped.rows if call.mapped else None
            said = str(call.rows) if call.rows == mapped else f"{call.rows} mapped {mapped}"
            for role in {kinds[path] for path in call.paths if path in kinds}:
                if role in rows:
                    rows[role].add(said)
    return " / ".join(", ".join(sorted(rows[role])) or "none" for role in (TOWER, CONNECTOR))
