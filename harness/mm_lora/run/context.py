"""What the cases work with: the run's models, builds, servers, reference and raw observations."""

import contextlib
import platform
import sys
import threading
import time
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Any

from mm_lora.adapters.broken import broken_copy, parse
from mm_lora.adapters.built import BuiltAdapter
from mm_lora.adapters.checkpoint_folder import weight_shapes
from mm_lora.adapters.own import OwnAdapter, read_all
from mm_lora.checks import adapter_table, defects
from mm_lora.checks.context import Foreseen
from mm_lora.core.asking import Request
from mm_lora.core.errors import MmLoraError, UsageError
from mm_lora.core.interpreters import facts
from mm_lora.core.progress import Progress
from mm_lora.core.record import Run, ServerRecord
from mm_lora.core.run_folder import RunFolder
from mm_lora.core.selection import names_models
from mm_lora.core.skips import NotApplicable, SkipReason
from mm_lora.core.timings import Timings
from mm_lora.families import registry
from mm_lora.families.family import Family
from mm_lora.families.models import Model, resolve
from mm_lora.run import limits
from mm_lora.run.factors import Strengths, stream_of
from mm_lora.run.options import RunOptions
from mm_lora.run.plan import flag_values
from mm_lora.run.profiles import Profile
from mm_lora.run.tolerances import Allowed
from mm_lora.serving import hub
from mm_lora.serving.asker import Asker
from mm_lora.serving.client import Client
from mm_lora.serving.pool import Prepared, ServerPool, Started
from mm_lora.serving.remote_adapters import RemoteAdapters
from mm_lora.serving.served_vllm import ServedVllm, look_at, reference_choice
from mm_lora.serving.server.remote import RemoteServer, api_key, root_of
from mm_lora.serving.server.spec import ServerSpec
from mm_lora.truth.build import Builder
from mm_lora.truth.reference import Forced, Reference
from mm_lora.truth.worker_client import WorkerClient


class RunContext:
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
            limits=limits.of(profile),
            started=datetime.now(UTC).isoformat(timespec="seconds"),
        )
        self.timings = Timings()
        self._building = threading.Lock()
        self._on_remote: list[RemoteAdapters] = []
        self._built: dict[str, dict[str, BuiltAdapter]] = {}
        self._models = {model.name: model for model in selected_models(options, profile)}
        self.own: Mapping[str, OwnAdapter] = read_all(options.adapter)
        self.strengths = Strengths(options, profile, progress.say)
        self.allowed: dict[ServerSpec, Allowed] = {}
        self.cannot_see: list[str] = []
        port = options.settings.get("port")
        self.pool = ServerPool(
            self._prepare,
            python=self.server_python,
            folder=folder.path,
            ready_timeout_s=profile.ready_timeout_s,
            request_timeout_s=profile.request_timeout_s,
            say=progress.say,
            timings=self.timings,
            port=int(port) if port else None,
            alone=profile.needs.gpus > 0,
        )
        self.run.servers = self.pool.records
        self.asker = Asker(self.pool, folder=folder, timings=self.timings, say=progress.say)

    def look_around(self) -> None:
        """Put the interpreters' versions into the report, and say what is patched.

        InstallError without a usable vLLM, NoFeature for one that has nothing to verify.
        """
        if self.options.base_url:
            self.remote.connect()
            self.run.vllm = {"version": self.remote.version, "distribution": None, "python": None}
            return
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
    def remote(self) -> RemoteServer:
        """The server of --base-url."""
        return RemoteServer(root_of(self.options.base_url), api_key())

    def attach(self, specs: Iterable[ServerSpec]) -> None:
        """Let the remote server stand for each spec, with the adapters that it has or takes."""
        for spec in specs:

            def folders(names: tuple[str, ...], model: str = spec.model) -> dict[str, Path]:
                return {name: one.path for name, one in self.adapters(model, names).items()}

            client = Client(self.remote.base_url, self.profile.request_timeout_s, api_key())
            adapters = RemoteAdapters(client, self.remote.adapters, folders)
            self._on_remote.append(adapters)
            adapters.want(spec.adapters)
            record = ServerRecord(spec=spec.as_json(), label=f"remote {self.remote.base_url}")
            record.refused_adapters = dict(adapters.absent)
            started = Started(
                self.remote, client, record, absent=adapters.absent, base=self.remote.base
            )
            self.pool.add(spec, started)

    @cached_property
    def vllm(self) -> ServedVllm:
        """The vLLM that is served, with what it lacks and what is patched into it."""
        return look_at(
            self.server_python,
            self.families.values(),
            self.progress.say,
            diff_file=self.options.vllm_patch,
            choice=self.options.feature,
        )

    @cached_property
    def reference_python(self) -> Path:
        """Whose transformers builds checkpoints and computes the truth; see reference_choice."""
        return reference_choice(
            self.options.reference_python, self.server_python, self.progress.say
        )

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
        return Reference(self.worker, known)

    @property
    def families(self) -> dict[str, Family]:
        """The families of the models that are served."""
        return {model.family.name: model.family for model in self._models.values()}

    @property
    def seed(self) -> int:
        """Of weights, adapters and random traffic."""
        return self.options.seed

    @property
    def settings(self) -> Mapping[str, str]:
        """The rarer switches of the run."""
        return self.options.settings

    @property
    def is_remote(self) -> bool:
        """Whether the server of --base-url is judged, by its answers alone."""
        return bool(self.options.base_url)

    def table(
        self, name: str, title: str, columns: Sequence[str], *, brief: bool = True
    ) -> list[list[Any]]:
        """The rows of the report's table of that name, to be added to."""
        empty = {"title": title, "columns": list(columns), "rows": [], "brief": brief}
        rows: list[list[Any]] = self.run.tables.setdefault(name, empty)["rows"]
        return rows

    @property
    def has_reference(self) -> bool:
        """Whether answers can be compared with transformers and PEFT in this profile."""
        return "reference" in self.profile.truths

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
        with self._building, self.timings.of("checkpoint", model):
            found = self.model(model)
            if found.repository and found.weights is None:
                hub.download(found.repository, found.revision, self.progress.say)
                found = self._models[model] = resolve(found.repository, found.revision)
            return self.builder.checkpoint(found, seed=self.options.seed)

    def miniature(self, model: str) -> Path:
        """The miniature of a published model, whatever is served: for arithmetic alone."""
        with self._building:
            return self.builder.checkpoint(resolve(model), seed=self.options.seed)

    def adapters(self, model: str, names: tuple[str, ...]) -> dict[str, BuiltAdapter]:
        """The adapters of that model: the user's own, built, or from the cache."""
        with self._building:
            of = self.model(model)
            known = self._built.setdefault(
                model, {name: own.built(of.family) for name, own in self.own.items()}
            )
            missing = [
                self.strengths.spec(self.builder, of, name) for name in names if name not in known
            ]
            if missing:
                small = not of.is_real and not self.options.base_url
                with self.timings.of("adapters", model):
                    known.update(self.builder.adapters(of, missing, miniature=small))
            return {name: known[name] for name in names}

    def strengthen(self, model: str, factors: Mapping[str, float]) -> None:
        """Build these families of adapters so many times stronger; running servers have the old."""
        with self._building:
            of = self.model(model)
            for stream, factor in factors.items():
                self.strengths.change(of, stream, factor)
            known = self._built.get(model, {})
            mine = [n for n in known if n not in self.own and stream_of(of.family, n) in factors]
            for name in mine:
                del known[name]

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
        path = self.adapters(model, (adapter,))[adapter].path if adapter else None
        checkpoint = self.checkpoint(model)
        with self.timings.of("reference", model):
            return self.reference.forced(
                side=self.model(model).family.torch_side,
                predictors=self.model(model).family.predictors,
                base_predictors=self.model(model).family.base_predictors,
                checkpoint=checkpoint,
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

    def save(self) -> None:
        """Replace report.json with what is known now."""
        self.run.duration_s = self.timings.elapsed_s
        self.run.timings = self.timings.as_json()
        with self.timings.of("write report"):
            self.folder.write_json("report.json", self.run.as_json())

    def close(self) -> None:
        """Stop servers and workers; nothing that this run started or loaded is left."""
        for adapters in self._on_remote:
            with contextlib.suppress(MmLoraError):
                adapters.close()
        self.pool.close()
        if "worker" in self.__dict__:
            self.worker.close()

    def _prepare(self, spec: ServerSpec) -> Prepared:
        family = self.model(spec.model).family
        fit = self.vllm.fit(spec, flag_values(self.profile, family), family)
        for name in sorted({name for name, _ in spec.flags} - {name for name, _ in fit.flags}):
            self.run.vllm.setdefault("flags_left_out", {})[name] = spec.flag(name)
        checkpoint = self.checkpoint(spec.model)
        built = self.adapters(spec.model, spec.adapters)
        adapter_table.add_rows(self.run.tables, spec.model, built.values())
        paths = {name: adapter.path for name, adapter in built.items()}
        if "break" in self.options.settings:
            name, kind = parse(self.options.settings["break"])
            if name in paths:
                target = self.folder.path / "broken" / f"{paths[name].name}-{spec.key}"
                if not target.exists():
                    broken_copy(paths[name], target, kind)
                paths[name] = target
        return Prepared(
            spec=fit,
            checkpoint=checkpoint,
            adapters=paths,
            search=self.vllm.search,
            repository=self.model(spec.model).repository,
        )


def selected_models(options: RunOptions, profile: Profile) -> list[Model]:
    """The models that the user or the profile names.

    `all` means every published one of the profile's family, `all-families` each family's default.
    """
    names = options.model or (profile.model,)
    published = registry.published()
    found: dict[str, Model] = {}
    for name in dict.fromkeys(one for word in names for one in _meant(word, profile)):
        model = resolve(name, "" if options.model else profile.revision)
        own = not model.repository and name not in (*published, *registry.families())
        if model.name in found or (model.name in published and own):
            raise UsageError(
                f"'{name}' would be called {model.name}, as another model is",
                "rename the folder: its checks are named after it",
            )
        found[model.name] = model
    return list(found.values())


def _meant(word: str, profile: Profile) -> tuple[str, ...]:
    if word == "all":
        return resolve(profile.model, profile.revision).family.published
    if word == "all-families":
        return tuple(family.published[0] for family in registry.families().values())
    return (word,)


def families_at_hand(options: RunOptions, selected: Sequence[Model]) -> dict[str, Family]:
    """Model → family, of every model that these options can select checks of.

    Those are the published models of the selected ones' families, and those that a pattern names;
    a pattern without a model's name selects among the families that the run is about.
    """
    found: dict[str, Family] = {}
    for model in selected:
        found |= dict.fromkeys(model.family.published, model.family)
    patterns = (*options.only, *options.skip)
    for name in names_models(patterns, registry.published()):
        found.setdefault(name, registry.published()[name])
    return found | {model.name: model.family for model in selected}
