"""The LoRA-wrapped layers of one model: the static list of them, and the hooks on each.

Every hook on the way of a request reads a shape and appends a tuple. Nothing of a tensor is kept
but, once an adapter is activated, the size of what each layer then holds of it.
"""

import inspect
import os
import sys
from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import Any

from .probe_file import write_once
from .probe_records import Call, Mapped, longest_prefix, runs_of
from .target_modules import VARIABLE as TARGETS_VARIABLE

KINDS = {"language_model": "language", "connector": "connector", "tower_model": "tower"}

_RUNNER = "vllm.v1.worker.gpu_model_runner"

LIKE_LINEAR = {
    *("LinearBase", "FusedMoE", "MoERunner", "VocabParallelEmbedding"),
    "ConvLayerBase",  # PEFT adapts a convolution
}
"""Base classes in vLLM of what transformers has as a module that PEFT can adapt."""


class Layers:
    """What `LoRAModelManager` wrapped. `calls` collects while a step runs, else it is None."""

    def __init__(self, manager: Any, missing: Callable[[str], None]) -> None:
        self.calls: list[Call] | None = None
        self._manager = manager
        self._missing = missing
        self._gone: list[str] = []
        self._sets: list[tuple[int, int, list[bool], list[list[float]]]] | None = None
        self._paths = list(manager.modules)
        self._prefixes = self._mapping()
        self._held = self._names_of_wrappers()
        self._mapped: dict[int, list[Mapped | None]] = {}
        self._versions = count(1)

    def hook(self) -> None:
        """Hook every punica wrapper and every wrapped layer."""
        for wrapper in self._manager.punica_wrapper_mapping.values():
            if id(wrapper) not in self._mapped:
                self._mapped[id(wrapper)] = [None]
                self._hook_wrapper(wrapper)
        for index, path in enumerate(self._paths):
            self._hook_layer(index, self._manager.modules[path])

    def write(self, path: Path) -> None:
        """Write the static list."""
        write_once(
            path,
            {
                "schema": 1,
                "rank": _rank(),
                "prefixes": self._prefixes,
                "slots": self._manager.lora_slots,
                "compiled": self._is_compiled(),
                "sorts_media": _sorts_media(),
                "modules": [self._describe(path) for path in self._paths],
                "unwrapped": self._unwrapped(),
                "missing": self._gone,
            },
        )

    def watch_sets(self) -> None:
        """Begin to note which layers get an adapter's weights."""
        self._sets = []

    def sets_seen(self) -> dict[str, Any]:
        """{"slot", "used": {module path: [name of each tensor pair that it got, or null]},
        "held": {module path: [sums of squares of A and of B, for each tensor pair]}}."""
        seen, self._sets = self._sets or [], None
        return {
            "slot": seen[0][1] if seen else None,
            "used": {
                self._paths[index]: [
                    name if given else None
                    for name, given in zip(self._parts(self._paths[index]), parts, strict=False)
                ]
                for index, _, parts, _ in seen
            },
            "held": {self._paths[index]: held for index, _, _, held in seen},
        }

    def _hook_wrapper(self, wrapper: Any) -> None:
        """After vLLM set what each row gets: note it, from the buffer that the kernels read."""
        original = getattr(wrapper, "update_metadata", None)
        if original is None or not hasattr(wrapper, "indices_len"):
            self._lost(f"{type(wrapper).__name__}.update_metadata and indices_len")
            return
        name, latest = self._held[id(wrapper)], self._mapped[id(wrapper)]

        def update_metadata(mapping: Any, lora_index_to_id: Any, *args: Any, **kwargs: Any) -> Any:
            outcome = original(mapping, lora_index_to_id, *args, **kwargs)
            rows = wrapper.indices_len[0]
            runs = _runs(wrapper, rows, mapping, lora_index_to_id)
            # Outside a step too: vLLM does not map again where the mapping stays the same.
            latest[0] = Mapped(name, next(self._versions), rows, runs)
            return outcome

        wrapper.update_metadata = update_metadata

    def _hook_layer(self, index: int, layer: Any) -> None:
        latest_of, nothing = self._mapped, [None]
        forward = layer.forward
        is_compiling = _is_compiling()

        # In the place of a forward hook, whose way through torch costs several times as much.
        def seen(*args: Any, **kwargs: Any) -> Any:
            calls = self.calls
            if calls is not None and not is_compiling():
                for given in args or kwargs.values():
                    shape = getattr(given, "shape", None)
                    if shape is not None:
                        rows = shape[0] if len(shape) < 3 else shape[0] * shape[1]
                        latest = latest_of.get(id(layer.punica_wrapper), nothing)
                        calls.append((index, rows, latest[0]))
                        break
            return forward(*args, **kwargs)

        original = getattr(layer, "set_lora", None)
        if original is None:
            self._lost(f"{type(layer).__name__}.set_lora")
        else:

            def set_lora(slot: int, lora_a: Any, *args: Any, **kwargs: Any) -> Any:
                outcome = original(slot, lora_a, *args, **kwargs)
                if self._sets is not None:
                    parts = lora_a if isinstance(lora_a, list | tuple) else [lora_a]
                    given = [part is not None for part in parts]
                    self._sets.append((index, slot, given, _held(layer, slot)))
                return outcome

            layer.set_lora = set_lora
        layer.forward = seen

    def _describe(self, path: str) -> dict[str, Any]:
        layer = self._manager.modules[path]
        wrapper = getattr(layer, "punica_wrapper", None)
        return {
            "path": path,
            "wrapper_class": type(layer).__name__,
            "base_class": type(getattr(layer, "base_layer", None)).__name__,
            "held": self._held.get(id(wrapper)),
            "by_prefix": longest_prefix(path, self._prefixes),
            "parts": self._parts(path),
            "slices": getattr(layer, "n_slices", None),
        }

    def _parts(self, path: str) -> list[str]:
        """The adapter's module paths that this layer serves: q, k and v for a packed qkv."""
        return list(self._manager.packed_modules.get(path, [path]))

    def _is_compiled(self) -> bool:
        """Whether the language model runs compiled: then its layers' Python, our notes with it, is
        only traced. Tower and connector run eagerly all the same."""
        config = getattr(getattr(self._manager.model, "vllm_config", None), "compilation_config", 0)
        return bool(getattr(config, "mode", 0) or 0)

    def _mapping(self) -> dict[str, list[str]]:
        mapping = getattr(self._manager, "mm_mapping", None)
        prefixes = {}
        for field, kind in KINDS.items():
            value = getattr(mapping, field, None) or []
            prefixes[kind] = [value] if isinstance(value, str) else list(value)
        return prefixes

    def _names_of_wrappers(self) -> dict[int, str]:
        """Which kind each punica wrapper is, from the prefixes that it is registered under."""
        kind_of = {prefix: kind for kind in self._prefixes for prefix in self._prefixes[kind]}
        kinds: dict[int, list[str]] = {}
        for prefix, wrapper in self._manager.punica_wrapper_mapping.items():
            named = kinds.setdefault(id(wrapper), [])
            # A prefix that no field names: one that a patch put below a field's.
            kind = kind_of.get(prefix) or longest_prefix(prefix, self._prefixes) or "language"
            if kind not in named:
                named.append(kind)
        return {number: "+".join(named) for number, named in kinds.items()}

    def _unwrapped(self) -> list[dict[str, str]]:
        """Linear-like modules that take no adapter, with the reason."""
        inside_wrapped = tuple(f"{path}." for path in self._paths)
        rows = []
        for path, module in self._manager.model.named_modules():
            names = {base.__name__ for base in type(module).__mro__}
            if not names & LIKE_LINEAR:
                continue
            if path in self._manager.modules or path.startswith(inside_wrapped):
                continue
            rows.append(
                {"path": path, "base_class": type(module).__name__, "reason": self._why_not(path)}
            )
        return rows

    def _why_not(self, path: str) -> str:
        if self._manager._get_punica_wrapper(path) is None:
            return "no punica wrapper fits its path"
        # Before vLLM 0.20 there is no such flag, and a compat patch stands for it.
        own = os.environ.get(TARGETS_VARIABLE)
        targets = own or getattr(self._manager.lora_config, "target_modules", None)
        matches: Callable[[str], bool] | None = getattr(
            self._manager, "_match_target_modules", None
        )
        if targets is not None and matches is not None and not matches(path):
            return "not among --lora-target-modules"
        if path.rpartition(".")[2] not in self._manager.supported_lora_modules:
            return "vLLM counts its name not among the model's LoRA modules"
        return "no LoRA layer class fits"

    def _lost(self, name: str) -> None:
        if name not in self._gone:
            self._gone.append(name)
            self._missing(name)


def _runs(
    wrapper: Any, rows: int, mapping: Any, lora_index_to_id: Any
) -> tuple[tuple[int, int], ...]:
    """Which adapter each mapped row got. On a CPU from the index buffer itself.

    On a GPU reading the buffer would wait for the device: there it comes from the mapping that
    vLLM had just written into it.
    """
    buffer = getattr(wrapper, "_token_lora_indices", None)
    if buffer is None or buffer.device.type != "cpu":
        return runs_of(mapping.index_mapping)
    import torch

    slots, lengths = torch.unique_consecutive(buffer[:rows], return_counts=True)
    return tuple(
        (0 if slot < 0 else lora_index_to_id[slot] or 0, length)
        for slot, length in zip(slots.tolist(), lengths.tolist(), strict=True)
    )


def _held(layer: Any, slot: int) -> list[list[float]]:
    """[sum of squares of A, of B] for each slice of a layer: B has the scale alpha / r in it."""
    pairs = zip(
        getattr(layer, "lora_a_stacked", ()), getattr(layer, "lora_b_stacked", ()), strict=False
    )
    return [[float(side[slot].double().square().sum()) for side in pair] for pair in pairs]


def _is_compiling() -> Callable[[], bool]:
    import torch

    return torch.compiler.is_compiling


def _sorts_media() -> bool:
    """Whether a step's media are sorted by kind before they are encoded (vLLM 0.32), or encoded in
    stretches of one kind, in the order of the requests (0.28)."""
    runner: Any = getattr(sys.modules.get(_RUNNER), "GPUModelRunner", None)
    try:
        return "sorted(" in inspect.getsource(runner._batch_mm_inputs_from_scheduler)
    except (AttributeError, OSError, TypeError):
        return True


def _rank() -> int:
    """This worker's tensor-parallel rank, 0 where there is none."""
    try:
        from vllm.distributed.parallel_state import get_tensor_model_parallel_rank

        return int(get_tensor_model_parallel_rank())
    except (ImportError, AssertionError):
        return 0
