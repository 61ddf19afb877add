"""Puts requests to servers, keeps each raw answer, and tells a crash from trouble.

A server that dies of its own exception is asked again, on a fresh one: again dead is a `fail`.
"""

import contextlib
import statistics
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from typing import Any

from mm_lora.core.asking import Answer, Request
from mm_lora.core.errors import ServerDied, ServerError, ServerGivenUp
from mm_lora.core.outcomes import NotPassed, Outcome, Verdict
from mm_lora.core.run_folder import RunFolder
from mm_lora.core.skips import NotApplicable, SkipReason
from mm_lora.core.timings import Timings
from mm_lora.serving.pool import ServerPool, Started, died_by_itself
from mm_lora.serving.server.spec import ServerSpec

CRASHES = 5
"""So many checks may crash one server spec before it is given up."""

KNOWN_CRASHES = 150
"""So many crashes of a spec do not count, where a known defect explains each of them: as many as a
model's core has checks, so that a defect that ends every adapter's server is seen in each."""

HELD_S = 0.05
"""How long each request of a batch is waited for at least."""

HELD_SHARE = 0.2
"""The same as a share of a usual answer alone: a busy machine is slow in both."""

MOST_HELD_S = 10.0


def held_s(requests: int, took: Sequence[float]) -> float:
    """Seconds for `requests` to come in, where answers alone `took` so many seconds each.

    The median, since a server's first answer takes long.
    """
    usual = statistics.median(took) if took else 0.0
    return min(MOST_HELD_S, 0.2 + requests * max(HELD_S, HELD_SHARE * usual))


class Asker:
    """Asks the servers of one run's pool; safe to use from several threads.

    `deadly`: whether a known defect is said to end the server of the check that asks.
    """

    def __init__(
        self,
        pool: ServerPool,
        *,
        folder: RunFolder,
        timings: Timings,
        say: Callable[[str], None],
    ) -> None:
        self._pool = pool
        self._folder = folder
        self._timings = timings
        self._say = say
        self._observing = threading.Lock()
        self._answered: set[str] = set()
        self._crashes: Counter[ServerSpec] = Counter()
        self._known: Counter[ServerSpec] = Counter()
        self._took: list[float] = []
        self.deadly = False

    def ask(
        self, spec: ServerSpec, request: Request, prepare: Callable[[], None] = lambda: None
    ) -> Answer:
        """Put one request to the server of `spec`; the raw answer is stored before it is judged.

        A server that dies of its own exception, again on a fresh server with that request alone
        (and `prepare` before it), raises NotPassed (`fail`, how: crash); one that was killed or
        died only once raises ServerDied (`error`). Where `deadly`, a server that had answered
        nothing before is fresh enough.
        """
        started = self._pool.get(spec)
        _require_loaded(started, request.model)
        if request.model in started.absent:
            raise NotApplicable(SkipReason.NO_ADAPTER, started.absent[request.model])
        began = time.monotonic()
        enough = self.deadly and started.record.label not in self._answered
        answer = self._ask_or_death(started, request)
        if isinstance(answer, ServerDied):
            if enough and answer.by_signal is None:
                raise self._dies_alone(spec, answer)
            return self._after_death(spec, request, answer, prepare)
        with self._observing:
            self._took.append(time.monotonic() - began)
        return answer

    def ask_all(
        self,
        spec: ServerSpec,
        requests: Sequence[Request],
        delays: Sequence[float] = (),
        *,
        in_line: bool = False,
    ) -> list[Answer]:
        """Put all requests at once, or each `delays` seconds later; answers in their order.

        Without delays they are held back until all have come, so that the server can batch them;
        `in_line`, one after the other, so that it has them in this order.
        A server that dies is judged as in `ask`, by asking a fresh one the whole batch again: what
        kills it may be that these requests met.
        """
        started = self._pool.get(spec)
        for request in requests:
            _require_loaded(started, request.model)
        answers = self._ask_all(started, requests, delays, in_line)
        if not isinstance(answers, ServerError):
            return answers
        death = died_by_itself(started)
        if death is None:
            raise answers
        if death.by_signal is not None:
            self._pool.give_up(spec, death)
            raise death
        self._say(f"vLLM for {spec.label} died; asking a fresh server the batch again")
        fresh = self._pool.again(spec)
        if isinstance(self._ask_all(fresh, requests, delays, in_line), ServerError):
            second = died_by_itself(fresh)
            if second is None or second.by_signal is not None:
                raise death
            self._after_crash(spec, second)
            raise NotPassed(_crash(second, "the server dies on this batch"))
        raise _once(death)

    def _ask_all(
        self,
        started: Started,
        requests: Sequence[Request],
        delays: Sequence[float],
        in_line: bool,
    ) -> list[Answer] | ServerError:
        """Every answer, or the first error once all have ended: a dead server answers none."""
        gap = held_s(1, self._took) if in_line else 0.0
        waits = delays or [gap * at for at in range(len(requests))]

        def one(request: Request, delay: float) -> Answer | ServerError:
            time.sleep(delay)
            try:
                return self._ask_or_death(started, request)
            except ServerError as error:
                return error

        with ThreadPoolExecutor(max_workers=len(requests)) as threads:
            held = not delays and started.client.hold()
            try:
                sent = [threads.submit(one, *pair) for pair in zip(requests, waits, strict=True)]
                if held:
                    # Nothing tells when a held request has come; a picture takes up to 0.1 s on a
                    # quiet machine.
                    time.sleep(max(held_s(len(requests), self._took), gap * len(requests)))
            finally:  # Ctrl-C too: requests that stay held would be waited for
                if held:
                    with contextlib.suppress(ServerDied):  # the requests will say so
                        started.client.release()
            ended = [future.result() for future in sent]
        errors = [end for end in ended if isinstance(end, ServerError)]
        return errors[0] if errors else [end for end in ended if isinstance(end, Answer)]

    def _after_death(
        self,
        spec: ServerSpec,
        request: Request,
        death: ServerDied,
        prepare: Callable[[], None],
    ) -> Answer:
        if death.by_signal is not None:
            self._pool.give_up(spec, death)
            raise death
        self._say(f"vLLM for {spec.label} died; asking a fresh server the same, alone")
        try:
            fresh = self._pool.again(spec)
            prepare()
            second = self._ask_or_death(fresh, request)
        except ServerError:
            raise death from None
        if not isinstance(second, ServerDied):
            raise _once(death)
        if second.by_signal is not None:
            raise death
        raise self._dies_alone(spec, second)

    def _dies_alone(self, spec: ServerSpec, death: ServerDied) -> NotPassed:
        self._after_crash(spec, death)
        return NotPassed(_crash(death, "the server dies on this request alone"))

    def _after_crash(self, spec: ServerSpec, death: ServerDied) -> None:
        """Each crash costs two starts: a spec that crashed on so many checks is given up."""
        self._crashes[spec] += 1
        if self._crashes[spec] < CRASHES:
            self._pool.release(spec)
            return
        self._pool.give_up(
            spec,
            ServerGivenUp(
                "not-asked: the server died of its own exception in checks before "
                f"({CRASHES} of them; {death.what})",
                "this check alone: `--only ID`",
                death.log_tail,
            ),
        )

    def explained(self, spec: ServerSpec) -> None:
        """A known defect explains the last crash of the spec: see KNOWN_CRASHES."""
        if self._crashes[spec] and self._known[spec] < KNOWN_CRASHES:
            self._known[spec] += 1
            self._crashes[spec] -= 1

    def forgive(self, spec: ServerSpec) -> None:
        """Count the crashes of a spec anew: what served it is another server now."""
        self._crashes.pop(spec, None)

    def _ask_or_death(self, started: Started, request: Request) -> Answer | ServerDied:
        """The answer, or how the server died of it: the API server may still answer 500 when its
        engine has died."""
        try:
            answer = self._ask(started, request)
        except ServerError:
            death = died_by_itself(started)
            if death is None:
                raise
            return death
        if answer.status >= 500 and not started.client.is_healthy():
            return died_by_itself(started) or answer
        return answer

    def _ask(self, started: Started, request: Request) -> Answer:
        label = started.record.label
        began = self._timings.elapsed_s
        answer = started.client.ask(request)
        ended = self._timings.elapsed_s
        with self._observing:
            first = label not in self._answered
            self._answered.add(label)
        self._timings.note("first answer" if first else "later answers", label, began, ended)
        self.observe(
            "answer",
            server=label,
            request=asdict(request),
            answer=asdict(answer),
            seconds=round(ended - began, 4),
        )
        return answer

    def observe(self, kind: str, **what: Any) -> None:
        """Keep a raw observation; judging it again later needs no server."""
        with self._observing:
            self._folder.append_json("observations.jsonl", {"kind": kind, **what})


def _require_loaded(started: Started, model: str) -> None:
    """Raise NotPassed for an adapter with which this vLLM would not start."""
    if model in started.refused:
        raise _refused(model, started.refused[model])


def _refused(adapter: str, end: ServerDied) -> NotPassed:
    return NotPassed(
        Verdict(
            outcome=Outcome.FAIL,
            expected="vLLM loads the adapter",
            observed=end.log_tail[-1500:],
            reason=f"vLLM refuses the adapter '{adapter}': {end}",
        )
    )


def _crash(death: ServerDied, when: str) -> Verdict:
    return Verdict(
        outcome=Outcome.FAIL,
        expected="an answer",
        observed=f"crash: {death.log_tail[-1500:]}",
        reason=f"how: crash; {when}: {death.what}",
    )


def _once(death: ServerDied) -> ServerDied:
    return ServerDied(
        f"{death.what}; a fresh server answered the same", death.check, death.log_tail
    )
