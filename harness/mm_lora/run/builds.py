"""What a run builds, downloads or finds: checkpoints and adapters of its models, each once."""

import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from functools import cached_property
from pathlib import Path

from mm_lora.adapters.built import BuiltAdapter
from mm_lora.adapters.checkpoint_folder import weight_shapes
from mm_lora.adapters.kind import Kind, Modules, kind_of
from mm_lora.adapters.own import OwnAdapter
from mm_lora.adapters.spec import AdapterSpec
from mm_lora.core.errors import UsageError
from mm_lora.core.timings import Timings
from mm_lora.families.models import Model, resolve
from mm_lora.run.factors import Factors, stream_of
from mm_lora.run.inputs import Inputs
from mm_lora.serving import hub
from mm_lora.serving.served_vllm import ServedVllm, look_at, reference_choice
from mm_lora.truth import module_table
from mm_lora.truth.build import Builder
from mm_lora.truth.worker_client import WorkerClient


class Builds:
    """The stock of a run that is made where it is missing; safe to use from several threads."""

    def __init__(
        self,
        inputs: Inputs,
        say: Callable[[str], None] = lambda line: None,
        timings: Timings | None = None,
    ) -> None:
        self.inputs = inputs
        self.factors = Factors(inputs.options, inputs.profile)
        self._say = say
        self._timings = timings or Timings()
        self._models = dict(inputs.models)
        self._built: dict[str, dict[str, BuiltAdapter]] = {}
        self._kinds: dict[tuple[str, str], Kind] = {}
        self._building = threading.Lock()
        self._starting = threading.RLock()  # two threads that ask at once must share one worker
        self._worker: WorkerClient | None = None
        self._builder: Builder | None = None

    @cached_property
    def vllm(self) -> ServedVllm:
        """The vLLM that is served, with what it lacks and what is patched into it."""
        options = self.inputs.options
        return look_at(
            self.inputs.server_python,
            self.inputs.served_families,
            self._say,
            diff_file=options.settings.vllm_patch,
            choice=options.feature,
        )

    @cached_property
    def reference_python(self) -> Path:
        """Whose transformers builds checkpoints and computes the truth; see reference_choice."""
        named = self.inputs.options.reference_python
        return reference_choice(named, self.inputs.server_python, self._say)

    @property
    def worker(self) -> WorkerClient:
        """The one process with torch and transformers; its imports are paid once a run."""
        with self._starting:
            if self._worker is None:
                self._worker = WorkerClient(self.reference_python, self._say)
            return self._worker

    @property
    def builder(self) -> Builder:
        """Builds checkpoints and adapters, or finds them in the cache."""
        with self._starting:
            if self._builder is None:
                self._builder = Builder(self.reference_python, self._say, self.worker)
            return self._builder

    def model(self, name: str) -> Model:
        """The model that checks call `name`: one of the run's, or a published one."""
        return self._models.get(name) or self.inputs.model(name)

    def require_files(self, models: Iterable[str]) -> None:
        """Raise UsageError for a damaged folder of the user's, or an adapter that does not fit.

        An adapter that was made for the model whose miniature is served does: see `kinds`.
        """
        own = self.inputs.own
        for name in dict.fromkeys(models):
            if self.model(name).weights is not None or own:
                shapes = weight_shapes(self.checkpoint(name))
                for adapter in own.values() if shapes else ():
                    if why := adapter.misfit(name, shapes):
                        self._kinds[name, adapter.name] = self._kind(name, adapter, why)

    @property
    def kinds(self) -> Mapping[tuple[str, str], Kind]:
        """By model and adapter, those of the user's that were made for the published model: its
        miniature is served with an adapter of their kind. Known once `require_files` was asked."""
        return self._kinds

    def _kind(self, name: str, adapter: OwnAdapter, why: str) -> Kind:
        model = self.model(name)
        if model.is_real:
            raise UsageError(
                f"adapter '{adapter.name}' was made for another model: {why}",
                "the model that it was trained on against --model",
            )
        self._say(f"reading the modules of {name}, for which adapter '{adapter.name}' was made")
        family = model.family
        small = family.miniature(model.config, model.layout)
        whole = module_table.of_model(model, self.worker)
        table = module_table.of_config(family.torch_side, small, family.sources, self.worker)
        named = {saved: path for path, saved in {**whole.own, **table.own}.items()}
        modules = Modules(published=whole.sizes, miniature=table.sizes, named=named)
        return kind_of(adapter, family, name, modules)

    def checkpoint(self, model: str) -> Path:
        """The folder of the miniature that is served as `model`, or the user's own folder."""
        with self._building, self._timings.of("checkpoint", model):
            found = self.model(model)
            if found.repository and found.weights is None:
                hub.download(found.repository, found.revision, self._say)
                found = self._models[model] = resolve(found.repository, found.revision)
            return self.builder.checkpoint(found, seed=self.inputs.options.seed)

    def miniature(self, model: str) -> Path:
        """The miniature of a published model, whatever is served: for arithmetic alone."""
        with self._building:
            return self.builder.checkpoint(resolve(model), seed=self.inputs.options.seed)

    def adapters(self, model: str, names: tuple[str, ...]) -> dict[str, BuiltAdapter]:
        """The adapters of that model: the user's own, built, or from the cache."""
        with self._building:
            of = self.model(model)
            if model not in self._built:
                self._built[model] = self._own(of)
            known = self._built[model]
            missing = [self.spec(model, name) for name in names if name not in known]
            if missing:
                small = not of.is_real and not self.inputs.options.base_url
                with self._timings.of("adapters", model):
                    known.update(self.builder.adapters(of, missing, miniature=small))
            return {name: known[name] for name in names}

    def _own(self, model: Model) -> dict[str, BuiltAdapter]:
        """The user's adapters as the model's server loads them."""
        found: dict[str, BuiltAdapter] = {}
        for name, adapter in self.inputs.own.items():
            kind = self._kinds.get((model.name, name))
            if kind is None:
                found[name] = adapter.built(model.family)
                continue
            found[name] = self.builder.adapters(model, [kind.spec])[name]
            if kind.spec.form:
                plain = self.builder.adapters(model, [kind.plain])[name]
                found[name] = replace(found[name], plain=plain.path)
        return found

    def folders(self, model: str, names: tuple[str, ...]) -> dict[str, Path]:
        """The same, their folders alone."""
        return {name: one.path for name, one in self.adapters(model, names).items()}

    def spec(self, model: str, name: str) -> AdapterSpec:
        """A synthetic adapter as it is built for a server of this run."""
        return self.factors.spec(self.builder, self.model(model), name)

    def strengthen(self, model: str, factors: Mapping[str, float]) -> None:
        """Build these streams of adapters so many times stronger; running servers have the old."""
        with self._building:
            of = self.model(model)
            for stream, factor in factors.items():
                self.factors.change(of, stream, factor)
            known, own = self._built.get(model, {}), self.inputs.own
            mine = [n for n in known if n not in own and stream_of(of.family, n) in factors]
            for name in mine:
                del known[name]

    def close(self) -> None:
        """End the worker, if there is one."""
        if self._worker is not None:
            self._worker.close()


class Places:
    """The stock of a run by name alone: nothing is built or downloaded."""

    def __init__(self, builds: Builds) -> None:
        self._builds = builds

    def model(self, name: str) -> Model:
        """The model that checks call `name`."""
        return self._builds.model(name)

    def checkpoint(self, model: str) -> Path:
        """Where it is, or will be."""
        found = self.model(model)
        if found.repository and found.weights is None:
            return Path(found.repository)
        return self._builds.builder.checkpoint_folder(found, self._builds.inputs.options.seed)

    def folders(self, model: str, names: tuple[str, ...]) -> dict[str, Path]:
        """Where they are, or will be."""
        of, own = self.model(model), self._builds.inputs.own
        return {
            name: own[name].path
            if name in own
            else self._builds.builder.adapter_folder(
                of, self._builds.spec(model, name), miniature=not of.is_real
            )
            for name in names
        }
