"""What the cases work with: the run's models, builds, servers, reference and raw observations."""

import contextlib
import platform
import sys
import threading
import time
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path

from mm_lora.adapters.built import BuiltAdapter
from mm_lora.checks import adapter_table, defects
from mm_lora.checks.context import Upcoming
from mm_lora.checks.running import Served
from mm_lora.core.asking import Request
from mm_lora.core.errors import MmLoraError
from mm_lora.core.interpreters import facts
from mm_lora.core.journal import Journal
from mm_lora.core.progress import Progress
from mm_lora.core.record import Run
from mm_lora.core.run_folder import RunFolder
from mm_lora.core.selection import matches
from mm_lora.core.skips import NotApplicable, SkipReason
from mm_lora.core.table import Column, Table
from mm_lora.core.timings import Timings
from mm_lora.families.family import Family
from mm_lora.families.models import Model
from mm_lora.inside.catalogue import PATCHES
from mm_lora.inside.registry import select
from mm_lora.run import limits, own_kinds, time_spent
from mm_lora.run.builds import Builds
from mm_lora.run.inputs import Inputs
from mm_lora.run.recipe import recipe
from mm_lora.run.remote import Remote
from mm_lora.run.settings import Settings
from mm_lora.run.tolerances import Allowed
from mm_lora.run.tuning import Tuning
from mm_lora.serving.asker import Asker
from mm_lora.serving.hook_client import HookAnswers, HookQuestion, ask_hooks
from mm_lora.serving.pool import ServerPool
from mm_lora.serving.prepared import Prepared
from mm_lora.serving.served_vllm import ServedVllm
from mm_lora.serving.server.spec import ServerSpec
from mm_lora.truth.reference import Forced, Reference
from mm_lora.truth.worker_client import WorkerClient


class RunContext:
    """One run's workshop; `close` ends every process that it started."""

    def __init__(self, inputs: Inputs, folder: RunFolder, progress: Progress) -> None:
        self.inputs = inputs
        self.options = options = inputs.options
        self.profile = profile = inputs.profile
        self.folder = folder
        self.progress = progress
        self.server_python = inputs.server_python
        self.run = Run(
            profile=profile.name,
            argv=["mm-lora", "verify", *options.command_line()],
            seed=options.seed,
            limits=limits.of(profile),
            started=datetime.now(UTC).isoformat(timespec="seconds"),
        )
        self.journal = Journal(folder, self.run)
        self.timings = Timings()
        self.builds = Builds(inputs, progress.say, self.timings)
        self.cannot_see: list[str] = []
        self._classes: dict[tuple[str, tuple[str, ...]], HookAnswers] = {}
        self.own_limits: list[str] = []
        self.pool = ServerPool(
            self._prepare,
            folder=folder.path,
            request_timeout_s=profile.request_timeout_s,
            say=progress.say,
            timings=self.timings,
            alone=profile.needs.gpus > 0,
        )
        self.run.servers = self.pool.records
        self.asker = Asker(self.pool, folder=folder, timings=self.timings, say=progress.say)

    def look_around(self) -> None:
        """Put the interpreters' versions into the report, and say what is patched.

        InstallError without a usable vLLM, NoFeature for one that has nothing to verify.
        """
        if self.options.base_url:
            server = self.remote.server
            server.connect()
            self.run.vllm = {"version": server.version, "distribution": None, "python": None}
            return
        self.run.vllm = self.vllm.as_json()
        for line in self.vllm.news():
            self.progress.say(line)
        self.run.environment = {
            "server": self.vllm.facts.as_json(),
            "tool": facts(Path(sys.executable)).as_json(),
            "reference": facts(self.builds.reference_python).as_json(),
            "platform": platform.platform(),
            "machine": platform.machine(),
        }

    @cached_property
    def remote(self) -> Remote:
        """The server of --base-url."""
        return Remote(self.builds)

    def attach(self, specs: Iterable[ServerSpec]) -> None:
        """Let the remote server stand for each spec, with the adapters that it has or takes."""
        self.remote.attach(self.pool, specs)

    @property
    def vllm(self) -> ServedVllm:
        """The vLLM that is served, with what it lacks and what is patched into it."""
        return self.builds.vllm

    def ask_class(self, family: Family, questions: Sequence[HookQuestion]) -> HookAnswers:
        """Ask a family's class in vLLM, without weights or a server, as servers have it: with what
        brings it the feature, and the fixes and mutants that servers get. Asked once for each set
        of those, with the questions of the first time."""
        if not self.run.vllm:  # no check of this run has a server; defects are known by version
            self.look_around()
        patches = (*self.vllm.feature_of(family), *self._mutants_of(self.pool.judged))
        if self.options.with_fixes:
            fixes = select(["fixes"], PATCHES, self.vllm.facts.vllm or "", self.profile.platform)
            patches = (*patches, *(patch.id for patch in fixes))
        key = (family.name, patches)
        if key not in self._classes:
            self._classes[key] = ask_hooks(
                self.server_python,
                family.vllm,
                questions,
                patches=patches,
                search=self.vllm.search,
                say=self.progress.say,
                launch=self.pool.launch(self.vllm.search),
                folder=self.folder.path / "questions" / f"{len(self._classes) + 1}-{family.name}",
            )
        return self._classes[key]

    def _mutants_of(self, check_id: str) -> list[str]:
        """Those of the run that act while a check is judged."""
        told = (word.partition("@") for word in self.settings.mutant)
        return [one for one, bound, to in told if not bound or matches(to, check_id)]

    def begin_import(self, spec: ServerSpec) -> None:
        """Begin to import vLLM for the first server."""
        self.pool.begin_import(spec, self.server_python, self.vllm.search)

    @property
    def worker(self) -> WorkerClient:
        """The process with torch."""
        return self.builds.worker

    @cached_property
    def reference(self) -> Reference:
        """transformers, fp32, with adapters merged: the truth of the numbers."""
        known = defects.signatures(
            self.inputs.defects, self.vllm.facts.vllm or "", self.profile.platform
        )
        return Reference(self.worker, known)

    @property
    def seed(self) -> int:
        """Of weights, adapters and random traffic."""
        return self.options.seed

    @property
    def settings(self) -> Settings:
        """The rarer switches of the run."""
        return self.options.settings

    @property
    def is_remote(self) -> bool:
        """Whether the server of --base-url is judged, by its answers alone."""
        return bool(self.options.base_url)

    def table(
        self, name: str, title: str, columns: Sequence[Column | str], *, brief: bool = True
    ) -> Table:
        """The report's table of that name, to be added to; it takes raw numbers."""
        return self.run.tables.named(name, title, columns, brief=brief)

    @property
    def has_reference(self) -> bool:
        """Whether answers can be compared with transformers and PEFT in this profile."""
        return "reference" in self.profile.truths

    def model(self, name: str) -> Model:
        """The model that checks call `name`: one of the run's, or a published one."""
        return self.builds.model(name)

    def require_files(self, models: Iterable[str]) -> None:
        """Raise UsageError for a damaged folder of the user's, or an adapter that does not fit."""
        self.builds.require_files(models)
        own_kinds.note(self)

    def tell_limits(self) -> None:
        """Put what is known of this run's limits into the report."""
        self.run.limits = [*limits.of(self.profile, self.cannot_see), *self.own_limits]

    def checkpoint(self, model: str) -> Path:
        """The folder of the miniature that is served as `model`, or the user's own folder."""
        return self.builds.checkpoint(model)

    def miniature(self, model: str) -> Path:
        """The miniature of a published model, whatever is served: for arithmetic alone."""
        return self.builds.miniature(model)

    def adapters(self, model: str, names: tuple[str, ...]) -> dict[str, BuiltAdapter]:
        """The adapters of that model: the user's own, built, or from the cache."""
        return self.builds.adapters(model, names)

    def tune(self, served: Served) -> Allowed:
        """The tolerances that a running server's noise allows; see Tuning."""
        return Tuning(self, served).allowed()

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
        """The reference's numbers for one answer of `adapter` ("" for the base); see Reference.

        Raises NotApplicable where the profile has no such truth.
        """
        if not self.has_reference:
            raise NotApplicable(SkipReason.NO_REFERENCE)
        built = self.adapters(model, (adapter,))[adapter] if adapter else None
        path = (built.plain or built.path) if built else None
        checkpoint = self.checkpoint(model)
        family = self.model(model).family
        with self.timings.of("reference", model):
            return self.reference.forced(
                side=family.torch_side,
                predictors=family.predictors,
                base_predictors=family.base_predicted(bool(request.media)),
                checkpoint=checkpoint,
                adapter=path,
                request=request,
                token_ids=token_ids,
                predict=predict,
                peft=peft,
            )

    def answer_ahead(self, expected: Sequence[Upcoming]) -> None:
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
                    if not self.model(one.model).family.holds(one.request.media):
                        continue
                    while self.worker.is_wanted:
                        time.sleep(0.05)
                    self.forced(one.model, one.adapter, one.request, predict=one.predict)

        threading.Thread(target=work, name="answer-ahead", daemon=True).start()

    @property
    def picture_tokens(self) -> int:
        """The most tokens that one request's pictures may take, with room for words and answer."""
        return int(str(self.profile.flags.get("max-model-len", 4096))) - 256

    def save(self) -> None:
        """Store what is known now (see Journal)."""
        self.run.duration_s = self.timings.elapsed_s
        self.run.timings = self.timings.as_json()
        if self.run.exit is not None:  # of a run that has ended
            time_spent.note(self.run.tables, self.timings)
        with self.timings.of("write report"):
            self.journal.save()

    def close(self) -> None:
        """Stop servers and workers; nothing that this run started or loaded is left."""
        if self.is_remote:
            self.remote.close()
        self.pool.close()
        self.builds.close()

    def _prepare(self, spec: ServerSpec) -> Prepared:
        made = recipe(spec, self.inputs, self.vllm, self.builds, self.folder.path)
        if made.left_out:
            self.run.vllm.setdefault("flags_left_out", {}).update(made.left_out)
        built = self.adapters(spec.model, spec.adapters)
        adapter_table.add_rows(self.run.tables, spec.model, built.values())
        return made.cook()
