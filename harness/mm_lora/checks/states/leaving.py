"""A batch from whose middle clients disconnect: the others' answers, and who really left."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

from mm_lora.checks.isolation.batches import batches
from mm_lora.checks.isolation.traffic import Seen, Traffic
from mm_lora.core.asking import Answer, Request
from mm_lora.serving.probe_records import Step


def burst(
    traffic: Traffic, staying: Sequence[Request], leaving: Sequence[Request], after: int
) -> tuple[Seen, int]:
    """Send all from empty caches; who is `leaving` closes the connection `after` tokens.

    Returns what was seen of those that stayed, and how many left them in the middle.
    """
    served = traffic.served
    traffic.learn(staying)
    served.client.reset_caches()
    mark = served.probe.mark()
    with ThreadPoolExecutor(max_workers=len(leaving)) as threads:
        going = [threads.submit(served.leave, request, after) for request in leaving]
        answers = served.ask_all(staying)
        gone = [future.result() for future in going]
    steps = served.probe.since(mark).steps
    seen = traffic.judged(staying, answers, steps)
    left = sum(
        was_left(steps, answer, request.max_tokens)
        for request, answer in zip(leaving, gone, strict=True)
    )
    return replace(seen, batches=batches(steps)), left


def was_left(steps: Sequence[Step], gone: Answer, max_tokens: int) -> bool:
    """Whether a request ended before its last token, and others of its last step went on."""
    mine = [step for step in steps if step.worker == steps[0].worker and step.kind == "language"]
    there = [at for at, step in enumerate(mine) if any(r.is_for(gone.id) for r in step.requests)]
    if not there or len(there) >= max_tokens or there[-1] + 1 >= len(mine):
        return False
    company = {request.id for request in mine[there[-1]].requests}
    return bool(company & {request.id for request in mine[there[-1] + 1].requests})
