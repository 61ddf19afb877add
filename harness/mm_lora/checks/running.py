"""One server as the cases see it: ask, compare with the reference, reset caches, read the log."""

import weakref
from collections.abc import Callable, Collection, Sequence
from dataclasses import asdict
from pathlib import Path

from mm_lora.checks.compare_rows import Sent
from mm_lora.checks.context import Context
from mm_lora.core.asking import Answer, Encoded, Request
from mm_lora.core.errors import ServerError, TroubleError
from mm_lora.core.skips import NotApplicable, SkipReason
from mm_lora.families.family import Family
from mm_lora.families.flow import Flow
from mm_lora.families.models import Model
from mm_lora.serving.client import Client
from mm_lora.serving.metrics import Samples, read_metrics
from mm_lora.serving.probe import Probe
from mm_lora.serving.probe_records import Worker
from mm_lora.serving.server import readiness
from mm_lora.serving.server.process import VllmServer
from mm_lora.serving.server.spec import ServerSpec
from mm_lora.truth.reference import Forced

_known: "weakref.WeakKeyDictionary[Context, dict[ServerSpec, Served]]" = weakref.WeakKeyDictionary()


class Served:
    """A running server of one spec. Answers are kept, so that several checks judge one answer."""

    def __init__(self, context: Context, spec: ServerSpec) -> None:
        self.context = context
        self.spec = spec
        self.sent: dict[str, Sent] = {}
        self.alone: dict[Request, Answer] = {}
        self._answers: dict[Request, Answer] = {}

    @classmethod
    def of(cls, context: Context, spec: ServerSpec) -> "Served":
        """The same object for the same server in one run; waits until the server is ready."""
        context.pool.get(spec)
        return _known.setdefault(context, {}).setdefault(spec, cls(context, spec))

    def restart(self) -> None:
        """A fresh server with the adapters as they are built now; what the old one said is gone."""
        self.context.pool.restart(self.spec)
        self._forget()

    def reset(self) -> None:
        """As new but not restarted: the caches are emptied, and what it said is gone."""
        self.client.reset_caches()
        self._forget()

    def _forget(self) -> None:
        self.sent.clear()
        self.alone.clear()
        self._answers.clear()

    @property
    def base(self) -> str:
        """The served name of the base model."""
        return self.context.pool.get(self.spec).base

    @property
    def refused(self) -> Collection[str]:
        """The adapters that vLLM would not load."""
        return self.context.pool.get(self.spec).refused

    def ask(self, request: Request) -> Answer:
        """The server's first answer to `request` in this run."""
        if request not in self._answers:
            self._answers[request] = self.ask_again(request)
        return self._answers[request]

    def ask_again(self, request: Request) -> Answer:
        """A fresh answer, not kept."""
        self._require_room(request)
        return self._noted(request, self.context.asker.ask(self.spec, request))

    def ask_after(self, request: Request, prepare: Callable[[], None]) -> Answer:
        """As `ask_again`; a fresh server in place of a dead one is prepared before it is asked."""
        self._require_room(request)
        return self._noted(request, self.context.asker.ask(self.spec, request, prepare))

    def ask_cold(self, request: Request) -> Answer:
        """A fresh answer from empty caches: such answers may be compared exactly."""
        try:
            self.client.reset_caches()
        except ServerError as error:
            if isinstance(self.context.pool.get(self.spec).server, VllmServer):
                raise
            raise NotApplicable(SkipReason.NO_CACHE_RESET, error.what) from None
        return self.ask_again(request)

    def ask_alone(self, request: Request) -> Answer:
        """The first answer to `request` from empty caches with nothing beside it; kept."""
        if request not in self.alone:
            self.alone[request] = self.ask_cold(request)
        return self.alone[request]

    def ask_all(
        self,
        requests: Sequence[Request],
        delays: Sequence[float] = (),
        *,
        in_line: bool = False,
    ) -> list[Answer]:
        """Ask all at once, so that the server can batch; answers in the order of `requests`.

        `delays`: seconds that each of them waits before it is sent. `in_line`: they come in order.
        """
        for request in requests:
            self._require_room(request)
        answers = self.context.asker.ask_all(self.spec, requests, delays, in_line=in_line)
        return [self._noted(*pair) for pair in zip(requests, answers, strict=True)]

    def leave(self, request: Request, after: int) -> Answer:
        """Ask, and disconnect once `after` tokens have come: the beginning of the answer.

        A server that dies of it is found by whoever asks next.
        """
        answer = self.client.leave(request, after)
        self.context.asker.observe("left", request=asdict(request), answer=asdict(answer))
        return answer

    def forced(
        self, request: Request, answer: Answer, *, predict: bool = False, truth: str = ""
    ) -> Forced:
        """The reference's logprobs for the tokens of `answer`, with adapter and with base.

        `truth`: whom the reference takes for the one that was asked, an adapter or the base: only
        where both are to have the same numbers.
        """
        name = truth or request.model
        name = "" if name == self.base else name
        return self.context.forced(
            self.spec.model, name, request, token_ids=answer.token_ids, predict=predict
        )

    def load(
        self, name: str, path: Path | None = None, *, in_place: bool = False
    ) -> tuple[int, str]:
        """Load an adapter over HTTP, the one built under that name or from `path`.

        `in_place`: the name may be in use. Returns status and text of the server's answer.
        """
        folder = path or self.built(name)
        return self.client.post(
            "/v1/load_lora_adapter",
            {"lora_name": name, "lora_path": str(folder)}
            | ({"load_inplace": True} if in_place else {}),
        )

    def built(self, name: str) -> Path:
        """The folder of the adapter of that name, for this server's model."""
        return self.context.adapters(self.spec.model, (name,))[name].path

    @property
    def listed(self) -> list[str]:
        """The models that the server offers now."""
        port = self._own_server(SkipReason.OWN_SERVER).port
        return readiness.served_models(port) or []

    def unload(self, name: str) -> tuple[int, str]:
        """Unload an adapter over HTTP: status and text of the server's answer."""
        return self.client.post("/v1/unload_lora_adapter", {"lora_name": name})

    @property
    def client(self) -> Client:
        """The client of the running server."""
        return self.context.pool.get(self.spec).client

    @property
    def probe(self) -> Probe:
        """What the row probe in the server wrote; the case must have wished for it."""
        return Probe(self._own_server(SkipReason.NO_ROWS).folder / "probe")

    @property
    def every_slot_was_used(self) -> bool:
        """Whether as many adapters were on the server as it has slots, so that none is empty."""
        named = {sent.adapter for sent in self.sent.values()} - {None}
        return len(named | set(self.spec.adapters)) >= self.spec.number("max-loras", 1)

    def workers(self) -> tuple[Worker, ...]:
        """The workers that wrapped layers; TroubleError for none, which would prove nothing."""
        found = self.probe.workers()
        if not found:
            raise TroubleError(
                f"the probe of {self.spec.label} did not write its list of layers",
                "free disk space, and the server's log",
            )
        return found

    @property
    def model(self) -> Model:
        """The served model."""
        return self.context.model(self.spec.model)

    @property
    def family(self) -> Family:
        """The served model's."""
        return self.model.family

    def flow(self, medium: Encoded) -> Flow:
        """The token flow of a picture or video, by our own arithmetic."""
        return self.family.flow(self.model.layout, medium)

    @property
    def folder(self) -> Path:
        """Where the server runs."""
        return self._own_server(SkipReason.OWN_SERVER).folder

    @property
    def pids(self) -> list[int]:
        """API server, engine core and workers; vLLM's passing processes (role `other`) are not."""
        rows = self._own_server(SkipReason.OWN_SERVER).processes
        return [int(row["pid"]) for row in rows if row["role"] != "other"]

    def noted(self, name: str) -> list[object]:
        """What the server's processes noted under that name, of those that did."""
        rows = self._own_server(SkipReason.OWN_SERVER).processes
        return [row[name] for row in rows if name in row]

    def metrics(self) -> Samples:
        """What the server counts now, by name and labels."""
        status, text = self.client.get("/metrics")
        if status != 200:
            raise ServerError(f"GET /metrics answered {status}", "the server's log")
        return read_metrics(text)

    def log_text(self) -> str:
        """The server's log so far."""
        return self._own_server(SkipReason.NO_LOG).log.read_text("utf-8", "replace")

    def image_prompt_tokens(self, request: Request) -> int:
        """What the media of a request add to its prompt, in tokens, by pure arithmetic."""
        return sum(self.flow(medium).prompt_tokens for medium in request.media)

    def judged_here(self, answer: Answer) -> None:
        """The check that asked judges whose this answer is: other checks leave its steps out."""
        self.sent.pop(answer.id, None)

    def _own_server(self, otherwise: SkipReason) -> VllmServer:
        server = self.context.pool.get(self.spec).server
        if not isinstance(server, VllmServer):
            raise NotApplicable(otherwise)
        return server

    def _require_room(self, request: Request) -> None:
        if not self.family.holds(request.media):
            most = ", ".join(f"{count} {kind}" for kind, count in self.family.limits.items())
            raise NotApplicable(SkipReason.FEWER_MEDIA, f"at most {most}")

    def _noted(self, request: Request, answer: Answer) -> Answer:
        if answer.id:
            flows = [self.flow(medium) for medium in request.media]
            self.sent[answer.id] = Sent(
                None if request.model == self.base else request.model,
                tuple(self.family.together(self.model.layout, flows)),
            )
        return answer
