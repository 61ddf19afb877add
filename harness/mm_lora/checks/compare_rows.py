"""Compares the rows seen inside the running layers with what our arithmetic and requests demand.

Pure: takes what the probe recorded, returns the mismatches; none means that every wrapped layer saw
the right number of rows, was told the right number, and gave each row its own request's adapter.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from mm_lora.checks.compare_counts import Mismatch
from mm_lora.families.llama4.geometry import TokenFlow
from mm_lora.families.llama4.modules import CONNECTOR, LANGUAGE, TOWER
from mm_lora.serving.probe_records import Call, Request, Runs, Step, Worker

PATCH_EMBEDDING = "vision_model.patch_embedding."
LOGITS = "language_model.lm_head"
"""Sees only the rows that are sampled from, under a mapping of its own: not compared here."""

_KINDS = (
    ("vision_model.vision_adapter.", CONNECTOR),
    ("multi_modal_projector.", CONNECTOR),
    ("vision_model.", TOWER),
    ("language_model.", LANGUAGE),
)


@dataclass(frozen=True)
class Sent:
    """A request as it was sent: its adapter (None: the base) and its pictures' flows, in order."""

    adapter: str | None
    flows: tuple[TokenFlow, ...]


def kind_of(path: str) -> str | None:
    """Which wrapper a layer must have. Ours, not vLLM's: the vision adapter is no tower."""
    return next((kind for prefix, kind in _KINDS if path.startswith(prefix)), None)


def wrapper_mismatches(worker: Worker) -> list[Mismatch]:
    """Every wrapped layer must hold the wrapper of its kind; vLLM's prefixes must say so too."""
    found = []
    for module in worker.modules:
        kind = kind_of(module.path)
        for what, said in (
            ("wrapper that it holds", module.held),
            ("wrapper by longest prefix", module.by_prefix),
        ):
            if said != kind:
                found.append(Mismatch(module.path, what, kind, said))
    return found


def step_mismatches(worker: Worker, step: Step, sent: Mapping[str, Sent]) -> list[Mismatch]:
    """One pass against the requests that it served; `sent`: X-Request-Id → request."""
    where = f"step {step.number} {step.kind}"
    try:
        rows = {kind: _expected(step, sent, kind) for kind in (TOWER, CONNECTOR, LANGUAGE)}
        patches = _expected(step, sent, TOWER, patches=True)
    except LookupError as error:
        return [Mismatch(where, "request", "one that was sent", str(error))]
    wanted = (LANGUAGE,) if step.kind == LANGUAGE else (TOWER, CONNECTOR)
    found: list[Mismatch] = []
    for call in step.calls:
        for path in call.paths:
            if path == LOGITS:
                continue
            kind = kind_of(path)
            runs = patches if path.startswith(PATCH_EMBEDDING) else rows.get(kind or "", ())
            found += _call_mismatches(f"{where} {path}", call, kind, runs)
    if step.raised is not None:
        return [*found, Mismatch(where, "the pass", "no exception", step.raised)]
    return [*found, *_missing_calls(worker, step, wanted, where)]


def _expected(step: Step, sent: Mapping[str, Sent], kind: str, *, patches: bool = False) -> Runs:
    """(adapter, rows) for the layers of a kind, in the order of the rows, neighbours joined."""
    return joined(
        (request.adapter, rows)
        for request in step.requests
        for rows in _rows(request, _find(request, sent), kind, patches)
    )


def _rows(request: Request, asked: Sent, kind: str, patches: bool) -> Iterator[int]:
    if kind == LANGUAGE:
        yield request.tokens
        return
    for index in request.images:
        flow = asked.flows[index]
        if kind == CONNECTOR:
            yield flow.connector_rows
        else:
            yield flow.patch_rows if patches else flow.encoder_rows


def sent_as(request: Request, sent: Mapping[str, Sent]) -> str | None:
    """The key of `sent` that `request` has, None if nobody here sent it."""
    if request.id in sent:
        return request.id
    return next((name for name in sent if request.is_for(name)), None)


def _find(request: Request, sent: Mapping[str, Sent]) -> Sent:
    name = sent_as(request, sent)
    if name is None:
        raise LookupError(f"{request.id} is none of {', '.join(sent)}")
    asked = sent[name]
    if asked.adapter != request.adapter:
        raise LookupError(
            f"{request.id} asked for {asked.adapter}, was scheduled with {request.adapter}"
        )
    return asked


def _call_mismatches(where: str, call: Call, kind: str | None, runs: Runs) -> Iterator[Mismatch]:
    rows = sum(count for _, count in runs)
    if call.rows != rows:
        yield Mismatch(where, "rows that it saw", rows, call.rows)
    if call.mapped is None:
        yield Mismatch(where, "rows mapped", rows, "nothing was mapped")
        return
    if call.mapped.wrapper != kind:
        yield Mismatch(where, "wrapper", kind, call.mapped.wrapper)
    if call.mapped.rows != rows:
        yield Mismatch(where, "rows mapped", rows, call.mapped.rows)
    if call.mapped.runs != runs:
        yield Mismatch(where, "adapter of each row", shown(runs), shown(call.mapped.runs))


def _missing_calls(
    worker: Worker, step: Step, wanted: Sequence[str], where: str
) -> Iterator[Mismatch]:
    called = [path for call in step.calls for path in call.paths]
    for module in worker.modules:
        if module.path == LOGITS:
            continue
        kind = kind_of(module.path)
        unseen = worker.compiled and kind == LANGUAGE
        due = int(kind in wanted and not unseen)
        times = called.count(module.path)
        if times != due:
            yield Mismatch(f"{where} {module.path}", "calls", due, times)


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
