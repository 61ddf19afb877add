"""Asks a probed server and judges the rows in its layers: the claims that row cases share."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from mm_lora.checks.compare_rows import Sent, wrong_rows
from mm_lora.checks.judging import Judge
from mm_lora.checks.row_evidence import Evidence, evidence, not_once
from mm_lora.checks.running import Served
from mm_lora.core.asking import Answer, Request
from mm_lora.families.modules import LANGUAGE
from mm_lora.serving.probe_records import Worker

SHOWN, DRAWN = 20, 6
"""Mismatches in a report, as lines and drawn: one wrong count is wrong in every layer."""

TURNS = 6
"""Attempts to see a mixed batch; one is enough as a rule."""


@dataclass(frozen=True)
class Watched:
    """Requests, their answers, and what the probe saw of them."""

    requests: Sequence[Request]
    answers: Sequence[Answer]
    sent: Mapping[str, Sent]
    workers: Sequence[Worker]
    evidence: Evidence


def watch(served: Served, requests: Sequence[Request], *, together: bool = False) -> Watched:
    """Ask from empty caches, one by one or all `together`.

    Every picture is encoded then, if no two requests to the same adapter share one.
    """
    served.client.reset_caches()
    mark = served.probe.mark()
    if together:
        answers = served.ask_all(requests)
    else:
        answers = [served.ask_again(request) for request in requests]
    workers = served.workers()
    sent = {answer.id: served.sent[answer.id] for answer in answers if answer.id}
    seen = evidence(served.family, workers, served.probe.since(mark), sent)
    return Watched(requests, answers, sent, workers, seen)


def require_rows(check: Judge, served: Served, watched: Watched) -> None:
    """Valid answers; every picture encoded once; every row of every wrapped layer right."""
    for request, answer in zip(watched.requests, watched.answers, strict=True):
        check.equal([], answer.problems(request, None), "the answer is not valid")
    seen = watched.evidence
    lines = [str(one) for one in seen.mismatches]
    check.equal(
        [],
        lines[:SHOWN],
        f"{len(lines)} numbers inside the layers differ from the arithmetic",
        served.family.predicted_rows(served.model.layout, seen.mismatches),
        wrong_rows(seen.mismatches)[:DRAWN],
    )
    check.proves(
        not seen.lost,
        expected="every line of the probe",
        observed=f"{seen.lost} lines lost",
        reason="the probe's record has gaps",
    )
    check.equal([], not_once(watched.workers, watched.sent, seen), "pictures are not encoded once")
    # Guards the comparison itself: no steps, no mismatches.
    check.equal(
        {
            (worker.name, kind)
            for worker in watched.workers
            for kind in passes(watched) & wrapped(worker) or passes(watched)
        },
        {(step.worker, step.kind) for step in seen.steps},
        "passes seen",
    )


def require_mixed(
    check: Judge, served: Served, requests: Callable[[int], Sequence[Request]]
) -> None:
    """Right rows in batches of different adapters, in the encoder and in the language model.

    `requests(turn)`: what to ask together. The server alone decides what it batches, so that there
    are several turns; `void` if none was batched.
    """
    missing = {"encoder", "language"}
    batches: list[str] = []
    for turn in range(TURNS):
        watched = watch(served, requests(turn), together=True)
        require_rows(check, served, watched)
        missing -= {kind for kind in missing if watched.evidence.most_adapters(kind) > 1}
        batches += watched.evidence.batches()
        if not missing:
            break
    check.proves(
        not missing,
        expected="different adapters in one pass of the encoder, and of the language model",
        observed=batches[-SHOWN:] or f"no pass of {TURNS} turns served several requests",
        reason=f"never mixed in a pass of: {', '.join(sorted(missing))}; nothing is proved of that",
    )


def wrapped(worker: Worker) -> set[str]:
    """The kinds of pass in which a worker's layers with LoRA are called."""
    return {LANGUAGE if module.held == LANGUAGE else "encoder" for module in worker.modules}


def passes(watched: Watched) -> set[str]:
    """The kinds of pass that the requests must cause."""
    pictures = any(one.flows for one in watched.sent.values())
    return {LANGUAGE, *(["encoder"] if pictures else [])}
