"""Compares the rows inside the running layers with those that the requests should cause.

Pure: takes what the probe recorded, returns the mismatches; none means that every wrapped layer saw
the right number of rows, was told the right number, and gave each row its own request's adapter.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from mm_lora.checks.mismatch import Mismatch
from mm_lora.core.outcomes import Runs, WrongRows
from mm_lora.families.family import Family
from mm_lora.families.flow import Flow
from mm_lora.families.modules import LANGUAGE
from mm_lora.serving.probe_records import Call, Module, Request, Step, Worker


@dataclass(frozen=True)
class Sent:
    """A request as it was sent: its adapter (None: the base) and its media's flows, in order."""

    adapter: str | None
    flows: tuple[Flow, ...]


def wrapper_mismatches(family: Family, worker: Worker) -> list[Mismatch]:
    """Every wrapped layer must hold the wrapper of its role; vLLM's prefixes must say so too."""
    found = []
    for module in worker.modules:
        role = family.role_of_layer(module.path, module.parts)
        for what, said in (
            ("wrapper that it holds", module.held),
            ("wrapper by longest prefix", module.by_prefix),
        ):
            if said != role:
                found.append(Mismatch(module.path, what, role, said))
    return found


def step_mismatches(
    family: Family, worker: Worker, step: Step, sent: Mapping[str, Sent], encoder_pass: int = 0
) -> list[Mismatch]:
    """One pass against the requests that it served; `sent`: X-Request-Id → request.

    `encoder_pass`: which of its step's passes of the encoder it is, from 0.
    """
    where = f"step {step.number} {step.kind}"
    try:
        expected = _Expected(family, step, sent, encoder_pass, worker.sorts_media)
    except LookupError as error:
        return [Mismatch(where, "request", "one that was sent", str(error))]
    seen: dict[str, list[Call]] = {}
    for call in step.calls:
        for path in call.paths:
            seen.setdefault(path, []).append(call)
    found: list[Mismatch] = []
    for module in worker.modules:
        if module.path == family.logits:
            continue
        role, due = expected.of(module)
        calls = seen.get(module.path, [])
        place = f"{where} {module.path}"
        for call, runs in zip(calls, due, strict=False):
            found += _call_mismatches(place, call, role, runs)
        unseen = worker.compiled and role == LANGUAGE
        if step.raised is None and len(calls) != (0 if unseen else len(due)):
            found.append(Mismatch(place, "calls", 0 if unseen else len(due), len(calls)))
    listed = {module.path for module in worker.modules} | {family.logits}
    found += [
        Mismatch(f"{where} {path}", "wrapped layer", "listed", "unknown")
        for path in seen
        if path not in listed
    ]
    if step.raised is not None:
        found.append(Mismatch(where, "the pass", "no exception", step.raised))
    return found


class _Expected:
    """What the layers must see in one pass."""

    def __init__(
        self,
        family: Family,
        step: Step,
        sent: Mapping[str, Sent],
        encoder_pass: int,
        by_kind: bool,
    ) -> None:
        self._family = family
        scheduled = [(request, _find(request, sent)) for request in step.requests]
        self._language = step.kind == LANGUAGE
        self._prompt = joined((request.adapter, request.tokens) for request, _ in scheduled)
        media = [
            (request.adapter, one.flows[index])
            for request, one in scheduled
            for index in request.images
        ]
        self._adapters: list[str | None] = []
        self._flows: list[Flow] = []
        if not self._language:
            passes = family.passes([flow for _, flow in media], by_kind=by_kind)
            for at in passes[encoder_pass] if encoder_pass < len(passes) else ():
                adapter, flow = media[at]
                self._adapters.append(adapter)
                self._flows.append(flow)
        self._known: dict[str, list[Runs]] = {}

    def of(self, module: Module) -> tuple[str | None, list[Runs]]:
        """The layer's role, and the adapter of each row in each of its calls."""
        role = self._family.role_of_layer(module.path, module.parts)
        if self._family.is_idle(module.path):
            return role, []
        if self._language:
            return role, [self._prompt] if role == LANGUAGE else []
        group = self._family.group_of_layer(module.parts)
        if role == LANGUAGE or role is None:
            return role, []
        rows = group.rows if group is not None else self._family.mapped[role]
        if rows not in self._known:
            self._known[rows] = [
                joined((self._adapters[at], count) for at, count in call)
                for call in self._family.calls(self._flows, rows)
            ]
        return role, self._known[rows]


def sent_as(request: Request, sent: Mapping[str, Sent]) -> str | None:
    """The key of `sent` that `request` has, None if nobody here sent it."""
    if request.id in sent:
        return request.id
    return next((name for name in sent if request.is_for(name)), None)


def _find(request: Request, sent: Mapping[str, Sent]) -> Sent:
    name = sent_as(request, sent)
    if name is None:
        raise LookupError(f"{request.id} is none of {', '.join(sent)}")
    own = sent[name]
    if own.adapter != request.adapter:
        raise LookupError(
            f"{request.id} asked for {own.adapter}, was scheduled with {request.adapter}"
        )
    return own


def _call_mismatches(where: str, call: Call, role: str | None, runs: Runs) -> Iterator[Mismatch]:
    rows = sum(count for _, count in runs)
    if call.rows != rows:
        yield Mismatch(where, "rows that it saw", rows, call.rows)
    if call.mapped is None:
        yield Mismatch(where, "rows mapped", rows, "nothing was mapped")
        return
    if call.mapped.wrapper != role:
        yield Mismatch(where, "wrapper", role, call.mapped.wrapper)
    if call.mapped.rows != rows:
        yield Mismatch(where, "rows mapped", rows, call.mapped.rows)
    if call.mapped.runs != runs:
        step, _, layer = where.rpartition(" ")
        wrong = WrongRows(
            step=step, layers=(layer,), seen=call.rows, expected=runs, mapped=call.mapped.runs
        )
        yield Mismatch(where, "adapter of each row", shown(runs), shown(call.mapped.runs), wrong)


def wrong_rows(found: Iterable[Mismatch]) -> tuple[WrongRows, ...]:
    """The mismatches of rows, each once, with all the layers of a step that have it."""
    layers: dict[WrongRows, list[str]] = {}
    for one in found:
        if one.rows is not None:
            layers.setdefault(replace(one.rows, layers=()), []).extend(one.rows.layers)
    return tuple(replace(rows, layers=tuple(names)) for rows, names in layers.items())


def joined(runs: Iterable[tuple[str | None, int]]) -> Runs:
    """Neighbours with the same adapter become one, as vLLM does; empty ones vanish."""
    out: list[tuple[str | None, int]] = []
    for adapter, rows in runs:
        if not rows:
            continue
        if out and out[-1][0] == adapter:
            out[-1] = (adapter, out[-1][1] + rows)
        else:
            out.append((adapter, rows))
    return tuple(out)


def shown(runs: Runs) -> str:
    """Runs for a reader: `dice ×577, base ×144`."""
    return ", ".join(f"{adapter or 'base'} ×{rows}" for adapter, rows in runs) or "none"


def encoder_passes(steps: Sequence[Step]) -> list[int]:
    """For each record, which of its step's passes of the encoder it is; else 0."""
    counts: dict[tuple[str, int], int] = {}
    places = []
    for step in steps:
        if step.kind == LANGUAGE:
            places.append(0)
            continue
        key = (step.worker, step.number)
        places.append(counts.get(key, 0))
        counts[key] = places[-1] + 1
    return places
