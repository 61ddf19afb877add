"""What the cases work with: the run's models, builds, servers, reference and raw observations."""

import contextlib
import platform
import sys
import threading
import time
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Any

from mm_lora import defects
from mm_lora.adapter_sets import named
from mm_lora.adapters_broken import broken_copy, parse
from mm_lora.adapters_own import read_all
from mm_lora.asking import Answer, Request
from mm_lora.build import Builder, BuiltAdapter
from mm_lora.checkpoint_folder import weight_shapes
from mm_lora.environment import facts
from mm_lora.errors import MmLoraError, ServerDied, ServerError, UsageError
from mm_lora.judging import NotPassed
from mm_lora.models import PUBLISHED, Model, resolve
from mm_lora.options import RunOptions
from mm_lora.outcomes import Outcome, Verdict
from mm_lora.plan import flag_values
from mm_lora.pool import Prepared, ServerPool, Started, died_by_itself
from mm_lora.profiles import Profile
from mm_lora.progress import Progress
from mm_lora.record import Run
from mm_lora.reference import QK_ROWS, Forced, Reference
from mm_lora.report.folder import RunFolder
from mm_lora.served_vllm import ServedVllm, look_at, reference_choice
from mm_lora.server.spec import ServerSpec
from mm_lora.worker.client import WorkerClient


@dataclass(frozen=True, kw_only=True)
class Foreseen:
    """What a check will ask the reference: an adapter's name ("" for the base) and a request."""

    model: str
    adapter: str
    request: Request
    predict: bool = False


class Lab:
    """One run's workshop; `close` ends every process that it started."""

    def __init__(
        self, options: RunOptions, profile: Profile, folder: RunFolder, progress: Progress
    ) -> None:
        self.options = options
        self.profile = profile
        self.folder = folder
        self.progress = progress
        self.server_python = options.server_python or Path(sys.executable)
        self.run = Run(
            profile=profile.name,
            argv=["mm-lora", "verify", *options.command_line()],
            seed=options.seed,
            started=datetime.now(UTC).isoformat(timespec="seconds"),
        )
        self._began = time.monotonic()
        self._building = threading.Lock()
        self._observing = threading.Lock()
        self._built: dict[str, dict[str, BuiltAdapter]] = {}
        self._models = {model.name: model for model in selected_models(options, profile)}
        self.own = read_all(options.adapter)
        port = options.settings.get("port")
        self.pool = ServerPool(
            self._prepare,
            python=self.server_python,
            folder=folder.path,
            ready_timeout_s=profile.ready_timeout_s,
            request_timeout_s=profile.request_timeout_s,
            say=progress.say,
            port=int(port) if port else None,
        )
        self.run.servers = self.pool.records

    def look_around(self) -> None:
        """Put the interpreters' versions into the report, and say what is patched.

        InstallError without a usable vLLM, NoFeature for one that has nothing to verify.
        """
        self.run.vllm = self.vllm.as_json()
        for line in self.vllm.news():
            self.progress.say(line)
        self.run.environment = {
            "server": self.vllm.facts.as_json(),
            "tool": facts(Path(sys.executable)).as_json(),
            "reference": facts(self.reference_python).as_json(),
            "platform": platform.platform(),
            "machine": platform.machine(),
        }

    @cached_property
    def vllm(self) -> ServedVllm:
        """The vLLM that is served, with what it lacks and what is patched into it."""
        return look_at(self.options, self.server_python, self.progress.say)

    @cached_property
    def reference_python(self) -> Path:
        """Whose transformers builds checkpoints and computes the truth; see reference_choice."""
        return reference_choice(self.options, self.server_python, self.progress.say)

    @cached_property
    def worker(self) -> WorkerClient:
        """The one process with torch and transformers; its imports are paid once a run."""
        return WorkerClient(self.reference_python, self.progress.say)

    @cached_property
    def builder(self) -> Builder:
        """Builds checkpoints and adapters, or finds them in the cache."""
        return Builder(self.reference_python, self.progress.say, self.worker)

    @cached_property
    def reference(self) -> Reference:
        """transformers, fp32, with adapters merged: the truth of the numbers."""
        known = defects.signatures(self.vllm.facts.vllm or "", self.profile.platform)
        return Reference(self.worker, tuple(dict.fromkeys((QK_ROWS, *known))))

    def model(self, name: str) -> Model:
        """The model that checks call `name`: one of the run's, or a published one."""
        return self._models.get(name) or resolve(name)

    def require_files(self, models: Iterable[str]) -> None:
        """Raise UsageError for a damaged folder of the user's, or an adapter that does not fit."""
        for name in dict.fromkeys(models):
            if self.model(name).weights is not None or self.own:
                shapes = weight_shapes(self.checkpoint(name))
                for adapter in self.own.values():
                    if shapes:
                        adapter.require_fit(name, shapes)

    def checkpoint(self, model: str) -> Path:
        """The folder of the miniature that is served as `model`, or the user's own folder."""
        with self._building:
            return self.builder.checkpoint(self.model(model), seed=self.options.seed)

    def adapters(self, model: str, names: tuple[str, ...]) -> dict[str, BuiltAdapter]:
        """The adapters of that model: the user's own, built, or from the cache."""
        with self._building:
            known = self._built.setdefault(
                model, {name: own.built() for name, own in self.own.items()}
            )
            missing = [named(name) for name in names if name not in known]
            if missing:
                known.update(self.builder.adapters(self.model(model), missing))
            return {name: known[name] for name in names}

    def forced(
        self,
        model: str,
        adapter: str,
        request: Request,
        *,
        token_ids: tuple[int, ...] | None = None,
        predict: bool = False,
        peft: bool = False,
    ) -> Forced:
        """The reference's numbers for one answer of `adapter` ("" for the base); see Reference."""
        path = self.adapters(model, (adapter,))[adapter].path if adapter else None
        return self.reference.forced(
            checkpoint=self.checkpoint(model),
            adapter=path,
            request=request,
            token_ids=token_ids,
            predict=predict,
            peft=peft,
        )

    def foresee(self, expected: Sequence[Foreseen]) -> None:
        """Let the reference answer what will be asked, in the background, while a server starts.

        A server that then gives the same tokens needs no second computation. Trouble is left to
        the check that will ask again.
        """

        def work() -> None:
            with contextlib.suppress(MmLoraError):
                for model in dict.fromkeys(one.model for one in expected):
                    names = [o.adapter for o in expected if o.model == model and o.adapter]
                    self.adapters(model, tuple(dict.fromkeys(names)))
                for one in expected:
                    while self.worker.is_wanted:
                        time.sleep(0.05)
                    self.forced(one.model, one.adapter, one.request, predict=one.predict)

        threading.Thread(target=work, name="foresee", daemon=True).start()

    @property
    def picture_tokens(self) -> int:
        """The most tokens that one request's pictures may take, with room for words and answer."""
        return int(str(self.profile.flags.get("max-model-len", 4096))) - 256

    def ask(self, spec: ServerSpec, request: Request) -> Answer:
        """Put one request to the server of `spec`; the raw answer is stored before it is judged.

        A server that dies of its own exception, again on a fresh server with that request alone,
        raises NotPassed (`fail`, how: crash); one that was killed or died only once raises
        ServerDied (`error`).
        """
        started = self.pool.get(spec)
        if request.model in started.refused:
            raise _refused(request.model, started.refused[request.model])
        answer = self._ask_or_death(started, request)
        if isinstance(answer, ServerDied):
            return self._after_death(spec, request, answer)
        return answer

    def ask_all(
        self, spec: ServerSpec, requests: Sequence[Request], delays: Sequence[float] = ()
    ) -> list[Answer]:
        """Put all requests at once, each `delays` seconds later; answers in their order.

        A server that dies is judged as in `ask`, by asking a fresh one the whole batch again: what
        kills it may be that these requests met.
        """
        started = self.pool.get(spec)
        answers = self._ask_all(started, requests, delays)
        if not isinstance(answers, ServerError):
            return answers
        death = died_by_itself(started)
        if death is None:
            raise answers
        if death.by_signal is not None:
            self.pool.give_up(spec, death)
            raise death
        self.progress.say(f"vLLM for {spec.label} died; asking a fresh server the batch again")
        fresh = self.pool.again(spec)
        if isinstance(self._ask_all(fresh, requests, delays), ServerError):
            second = died_by_itself(fresh)
            if second is None or second.by_signal is not None:
                raise death
            self.pool.release(spec)
            raise NotPassed(_crash(second, "the server dies on this batch"))
        raise _once(death)

    def _ask_all(
        self, started: Started, requests: Sequence[Request], delays: Sequence[float]
    ) -> list[Answer] | ServerError:
        """Every answer, or the first error once all have ended: a dead server answers none."""

        def one(request: Request, delay: float) -> Answer | ServerError:
            time.sleep(delay)
            try:
                return self._ask(started, request)
            except ServerError as error:
                return error

        waits = delays or [0.0] * len(requests)
        with ThreadPoolExecutor(max_workers=len(requests)) as threads:
            ended = list(threads.map(one, requests, waits))
        errors = [end for end in ended if isinstance(end, ServerError)]
        return errors[0] if errors else [end for end in ended if isinstance(end, Answer)]

    def _after_death(self, spec: ServerSpec, request: Request, death: ServerDied) -> Answer:
        if death.by_signal is not None:
            self.pool.give_up(spec, death)
            raise death
        self.progress.say(f"vLLM for {spec.label} died; asking a fresh server the same, alone")
        try:
            second = self._ask_or_death(self.pool.again(spec), request)
        except ServerError:
            raise death from None
        if not isinstance(second, ServerDied):
            raise _once(death)
        if second.by_signal is not None:
            raise death
        self.pool.release(spec)
        raise NotPassed(_crash(second, "the server dies on this request alone"))

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
        if answer.status >= 500:
            return died_by_itself(started, patience_s=0) or answer
        return answer

    def _ask(self, started: Started, request: Request) -> Answer:
        began = time.monotonic()
        answer = started.client.ask(request)
        self.observe(
            "answer",
            server=started.record.label,
            request=asdict(request),
            answer=asdict(answer),
            seconds=round(time.monotonic() - began, 4),
        )
        return answer

    def observe(self, kind: str, **what: Any) -> None:
        """Keep a raw observation; judging it again later needs no server."""
        with self._observing:
            self.folder.append_json("observations.jsonl", {"kind": kind, **what})

    def save(self) -> None:
        """Replace report.json with what is known now."""
        self.run.duration_s = time.monotonic() - self._began
        self.folder.write_json("report.json", self.run.as_json())

    def close(self) -> None:
        """Stop servers and workers; nothing that this run started is left."""
        self.pool.close()
        if "worker" in self.__dict__:
            self.worker.close()

    def _prepare(self, spec: ServerSpec) -> Prepared:
        fit = self.vllm.fit(spec, flag_values(self.profile))
        for name in sorted({name for name, _ in spec.flags} - {name for name, _ in fit.flags}):
            self.run.vllm.setdefault("flags_left_out", {})[name] = spec.flag(name)
        checkpoint = self.checkpoint(spec.model)
        built = self.adapters(spec.model, spec.adapters)
        paths = {name: adapter.path for name, adapter in built.items()}
        if "break" in self.options.settings:
            name, kind = parse(self.options.settings["break"])
            if name in paths:
                target = self.folder.path / "broken" / f"{name}-{spec.key}"
                if not target.exists():
                    broken_copy(paths[name], target, kind)
                paths[name] = target
        return Prepared(spec=fit, checkpoint=checkpoint, adapters=paths, search=self.vllm.search)


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


def selected_models(options: RunOptions, profile: Profile) -> list[Model]:
    """The models that the user or the profile names; `all` means every published one."""
    names = options.model or (profile.model,)
    wanted = [n for name in names for n in (PUBLISHED if name == "all" else (name,))]
    found: dict[str, Model] = {}
    for name in dict.fromkeys(wanted):
        model = resolve(name)
        if model.name in found or (model.name in PUBLISHED and model.name != name):
            raise UsageError(
                f"'{name}' would be called {model.name}, as another model is",
                "rename the folder: its checks are named after it",
            )
        found[model.name] = model
    return list(found.values())
