"""Builds checkpoints and adapters in the worker and keeps them in the cache. No torch here."""

from collections.abc import Callable, Iterable, Mapping
from functools import cache
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from mm_lora.adapters.built import BuiltAdapter
from mm_lora.adapters.checkpoint_folder import check_folder
from mm_lora.adapters.spec import AdapterSpec
from mm_lora.core.cache import Cache, source_key
from mm_lora.core.errors import InstallError, UsageError
from mm_lora.core.interpreters import facts
from mm_lora.families.family import Family
from mm_lora.families.models import Model
from mm_lora.truth.worker_client import WorkerClient

_Order = dict[str, Any]
_PACKAGES = ("torch", "transformers", "peft", "safetensors", "tokenizers")
_PACKAGE = Path(__file__).resolve().parents[1]
_CHECKPOINT_SOURCES = ("truth/worker/checkpoint.py",)
_ADAPTER_SOURCES = (
    "adapters/keys.py",
    "adapters/spellings.py",
    "truth/worker/adapter_files.py",
    "truth/worker/adapter_forms.py",
)
_SHARED_SOURCES = ("families/torch_side.py", "families/vocabulary.py")


class Builder:
    """Checkpoints and adapters made by the interpreter `python`, at most once per content key.

    The key holds config, spec, seed, the versions of torch, transformers, peft, safetensors and
    tokenizers, and the builder's own source. One worker does all jobs, the caller's if one is
    given; `close` ends it.
    """

    def __init__(
        self,
        python: Path,
        say: Callable[[str], None] = lambda line: None,
        worker: WorkerClient | None = None,
    ) -> None:
        self._worker = worker or WorkerClient(python, say)
        self._say = say
        self._versions: Mapping[str, str] = {}

    @property
    def versions(self) -> Mapping[str, str]:
        """Package → version in the worker's interpreter. Raises InstallError if one is missing."""
        if not self._versions:
            known = facts(self._worker.python)
            found = {name: getattr(known, name) for name in _PACKAGES}
            missing = sorted(name for name, version in found.items() if version is None)
            if missing:
                raise InstallError(
                    f"{self._worker.python} has no {', '.join(missing)}",
                    "install it there, or name another interpreter; `mm-lora doctor` shows them",
                )
            self._versions = found
        return self._versions

    def checkpoint(self, model: Model, seed: int = 0) -> Path:
        """The folder of the miniature of `model`, or the user's own folder if that has weights.

        Raises UsageError for a damaged folder of the user's, BuildError if building fails.
        """
        if model.weights is not None:
            check_folder(model.weights)
            return model.weights
        order, label, key = self._checkpoint_order(model, seed)

        def build(folder: Path) -> Mapping[str, Any]:
            self._say(f"building the miniature checkpoint of {model.name} (seed {seed})")
            return self._worker.call("checkpoint", folder=str(folder), **order)

        return Cache("checkpoints", self._say).get(label, key, build)[0]

    def checkpoint_folder(self, model: Model, seed: int = 0) -> Path:
        """Where `checkpoint` finds or puts it; nothing is built."""
        if model.weights is not None:
            return model.weights
        _, label, key = self._checkpoint_order(model, seed)
        return Cache("checkpoints", self._say).path(label, key)

    def adapter_folder(self, model: Model, spec: AdapterSpec, *, miniature: bool = True) -> Path:
        """Where `adapters` finds or puts one; nothing is built."""
        _, label, key = self._adapter_order(model, spec, miniature)
        return Cache("adapters", self._say).path(label, key)

    def adapters(
        self, model: Model, specs: Iterable[AdapterSpec], *, miniature: bool = True
    ) -> dict[str, BuiltAdapter]:
        """Each spec's PEFT directory, by name: for the miniature, or for the model's full widths.

        A user's own folder with weights has its own widths either way.
        Raises UsageError for targets that match nothing, BuildError if building fails.
        """
        cache = Cache("adapters", self._say)
        built = {}
        for spec in specs:
            order, label, key = self._adapter_order(model, spec, miniature)

            def build(
                folder: Path, order: Mapping[str, Any] = order, label: str = label
            ) -> Mapping[str, Any]:
                self._say(f"building the adapter {label}")
                answer = self._worker.call("adapter", folder=str(folder), **order)
                if not answer["coverage"]:
                    raise UsageError(
                        f"adapter '{order['spec']['name']}' targets no module of {model.name}",
                        f"its targets, as a regular expression: {order['spec']['target_pattern']}",
                    )
                return answer

            path, answer = cache.get(label, key, build)
            built[spec.name] = BuiltAdapter(
                spec.name, path, spec, answer["coverage"], answer["bytes"]
            )
        return built

    def close(self) -> None:
        """End the worker."""
        self._worker.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _checkpoint_order(self, model: Model, seed: int) -> tuple[_Order, str, _Order]:
        """What the worker is told, the folder's label and its content key."""
        order = {"seed": seed, **processor_files(model)}
        key = {**order, **self._made_by(model.family, _CHECKPOINT_SOURCES)}
        order["side"] = model.family.torch_side
        return order, f"{model.name}-miniature", key

    def _adapter_order(
        self, model: Model, spec: AdapterSpec, miniature: bool
    ) -> tuple[_Order, str, _Order]:
        """The same of an adapter. How the weights are quantised does not change its shapes."""
        small = miniature and model.weights is None
        whole = {k: v for k, v in model.config.items() if k != "quantization_config"}
        config = model.family.miniature(model.config, model.layout) if small else whole
        order = {"config": config, "spec": spec.as_json()}
        label = f"{model.name}-{'miniature' if small else 'full'}-{spec.name}"
        key = {**order, **self._made_by(model.family, _ADAPTER_SOURCES)}
        return {**order, "side": model.family.torch_side}, label, key

    def _made_by(self, family: Family, sources: tuple[str, ...]) -> dict[str, Any]:
        files = (*sources, *_SHARED_SOURCES, *family.sources)
        return {"versions": dict(self.versions), "builder": _builder_key(files)}


def processor_files(model: Model) -> dict[str, Any]:
    """All of a miniature but its weights, as the worker's jobs take it."""
    small = model.family.miniature(model.config, model.layout)
    return {
        "config": small,
        "files": model.family.files(small, model.layout),
        "chat_template": model.family.chat_template,
    }


@cache
def _builder_key(sources: tuple[str, ...]) -> str:
    return source_key(*(_PACKAGE / source for source in sources))
