"""Answers that a sleeping server interrupts: what happened meanwhile, and whether it slept."""

import time
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from mm_lora.checks.running import Served
from mm_lora.core.asking import Answer, Request
from mm_lora.serving.probe import Mark
from mm_lora.serving.probe_records import Step

_BEGUN = 4
"""Tokens that each answer must have before the server is put to sleep."""
_PATIENCE_S, _TURN_S, _NAP_S = 60.0, 0.05, 0.5


@dataclass(frozen=True, kw_only=True)
class Sleep:
    """`asleep`: the server said so, and made no step. `awake`: it said so afterwards.
    `interrupted`: requests that had begun to answer and went on when it woke up."""

    answers: Sequence[Answer]
    steps: Sequence[Step]
    asleep: bool
    awake: bool
    interrupted: int


def interrupt(served: Served, requests: Sequence[Request], level: int) -> Sleep:
    """Send all at once from empty caches, put the server to sleep while they answer, wake it up."""
    served.client.reset_caches()
    mark = served.probe.mark()
    with ThreadPoolExecutor(max_workers=1) as thread:
        sent = thread.submit(served.ask_all, requests)
        _wait_until_answering(served, mark, len(requests))
        slept, _ = served.client.post(f"/sleep?level={level}&mode=keep")
        before = served.probe.since(mark).steps
        asleep = slept == 200 and _says_asleep(served)
        time.sleep(_NAP_S)
        made = len(served.probe.since(mark).steps) - len(before)
        woken, _ = served.client.post("/wake_up")
        awake = woken == 200 and not _says_asleep(served)
        answers = sent.result()
    steps = served.probe.since(mark).steps
    after = steps[len(before) :]
    return Sleep(
        answers=answers,
        steps=steps,
        asleep=asleep and not made,
        awake=awake,
        interrupted=len(_answering(before) & {one.id for step in after for one in step.requests}),
    )


def _wait_until_answering(served: Served, mark: Mark, count: int) -> None:
    """Until all answer, or long enough for them to have ended: then nothing is interrupted."""
    deadline = time.monotonic() + _PATIENCE_S
    while time.monotonic() < deadline:
        if len(_answering(served.probe.since(mark).steps)) >= count:
            return
        time.sleep(_TURN_S)


def _answering(steps: Sequence[Step]) -> set[str]:
    tokens = Counter(
        request.id
        for step in steps
        if step.worker == steps[0].worker and step.kind == "language"
        for request in step.requests
        if request.tokens == 1
    )
    return {name for name, count in tokens.items() if count >= _BEGUN}


def _says_asleep(served: Served) -> bool:
    status, text = served.client.get("/is_sleeping")
    return status == 200 and '"is_sleeping":true' in text.replace(" ", "")
