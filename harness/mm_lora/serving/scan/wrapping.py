"""What one model class of a vLLM takes adapters for: names, layers and wrappers, read as source."""

import ast
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache, cached_property
from pathlib import Path

from mm_lora.core.errors import InstallError
from mm_lora.families.family import VllmClass
from mm_lora.families.modules import LANGUAGE
from mm_lora.serving.hooked_classes import registered
from mm_lora.serving.scan.bodies import Bodies
from mm_lora.serving.scan.claims import Claims, claims, generation, packed
from mm_lora.serving.scan.renames import Renames, renames
from mm_lora.serving.scan.sources import MODELS, Class, Sources
from mm_lora.serving.scan.tree import Layer, Sort, layers
from mm_lora.serving.scan.values import Given, Items, Object, strings
from mm_lora.serving.scan.wrappers import Wrappers, wrappers
from mm_lora.serving.server.source import MODELS as FOLDER
from mm_lora.serving.syntax import many_trees

_EXPERTS = "experts"


@dataclass(frozen=True, kw_only=True)
class Wrapping:
    """One class. `renames`: of an adapter's keys; `packed`: fused layer → the names that it packs;
    `layers`: of all parts, paths with `*` for an index; `skipped`: prefixes of keys that are left
    out at loading; `embeddings`: last names of embeddings and heads that take adapters.

    `feature`: whether this vLLM has LoRA of towers and connectors for any model.
    """

    said: Claims
    renames: Renames
    packed: Mapping[str, tuple[str, ...]]
    layers: tuple[Layer, ...]
    paths: tuple[str, ...]
    known: Wrappers
    skipped: tuple[str, ...] = ()
    embeddings: frozenset[str] = frozenset()
    feature: bool = True

    _found: dict[str, Layer | None] = field(default_factory=dict, repr=False)

    @cached_property
    def names(self) -> frozenset[str]:
        """Last names of the layers that LoRA could be for, in the whole model."""
        own = {one.last for one in self.layers if one.sort is Sort.LINEAR}
        return frozenset(own | self.embeddings | ({_EXPERTS} if self.has_experts else set()))

    @cached_property
    def has_experts(self) -> bool:
        """Whether some layer routes its rows to experts."""
        return any(path.rpartition(".")[2] == _EXPERTS for path in self.paths)

    @cached_property
    def accepted(self) -> frozenset[str]:
        """Last names of an adapter's modules that vLLM expects; any other name is refused."""
        inner = {part for name in self.names for part in self.packed.get(name) or (name,)}
        return frozenset(inner | ({_EXPERTS} if _EXPERTS in self.names else set()))

    def layer_of(self, module: str) -> str:
        """The path of the layer that would hold the module: its own, or of what packs it."""
        parent, _, last = module.rpartition(".")
        above = f"{parent}." if parent else ""
        for name, parts in self.packed.items():
            if last in parts and name != last and self.layer(f"{above}{name}") is not None:
                return f"{above}{name}"
        return module

    def layer(self, path: str) -> Layer | None:
        """The layer at a path; None where the class makes none there."""
        if path not in self._found:
            fitting = [one for one in self.layers if _pattern(one.path).fullmatch(path)]
            self._found[path] = min(fitting, key=self._rank, default=None)
        return self._found[path]

    def makes(self, path: str) -> bool:
        """Whether the class makes a module of any kind at a path."""
        return any(_pattern(one).fullmatch(path) for one in self.paths)

    def why_not(self, layer: Layer) -> str:
        """Why no LoRA layer replaces it; "" where one does."""
        short = layer.cls.rpartition(".")[2]
        if not self.known.knows(layer):
            return f"{short}, for which vLLM has no LoRA layer"
        names = self.packed.get(layer.last, ())
        if self.known.fused(layer) and not self.known.fits(layer, len(names)):
            entry = f"has {len(names)} names for it" if names else f"has no entry {layer.last!r}"
            return f"{short}, and the class's packed_modules_mapping {entry}"
        return ""

    def role(self, path: str) -> str | None:
        """The role by whose rows vLLM would map the layer at a path; None for no wrapper."""
        if self.said.prefixes is None:
            return LANGUAGE
        return self.said.role(path)

    def _rank(self, layer: Layer) -> tuple[bool, bool]:
        """Of several ways to make a layer: the one that is wrapped, then the sharded one, which is
        vLLM's default."""
        return bool(self.why_not(layer)), "ReplicatedLinear" in layer.cls


def wrapping(package: Path, vllm: VllmClass, language: str = "") -> Wrapping:
    """Reads a class of the vLLM in `package` (its folder). `language`: the architecture of the
    config's language model. Raises InstallError where this vLLM has no such class."""
    with many_trees():
        sources = Sources(package)
        places = registered(package / FOLDER / "registry.py")
        by_name = {name: place for place, names in places.items() for name in names}
        bodies = Bodies(sources, by_name, language)
        module = sources.module(f"{MODELS}.{vllm.module}")
        cls = sources.find(module, vllm.name) if module else None
        if not isinstance(cls, Class):
            raise InstallError(
                f"this vLLM has no class {vllm.name} in {FOLDER}/{vllm.module}.py",
                "a later vLLM: --vllm",
            )
        manager = package / "lora" / "model_manager.py"
        texts = [manager] if manager.is_file() else manager.with_suffix("").glob("*.py")
        how = generation("\n".join(one.read_text(encoding="utf-8") for one in texts))
        said = claims(bodies, cls, how)
        model = Object(cls, cls.module, ast.Name(cls.name), Given())
        made, paths = layers(bodies, model)
        return Wrapping(
            said=said,
            renames=renames(bodies, model),
            packed=packed(bodies, model)[0],
            layers=tuple(made),
            paths=tuple(paths),
            known=wrappers(sources),
            skipped=tuple(_texts(bodies, model, "lora_skip_prefixes")),
            embeddings=frozenset(_embeddings(bodies, model)),
            feature=how is not None,
        )


def _texts(bodies: Bodies, model: Object, name: str) -> list[str]:
    held = bodies.attributes(model).get(name, [])
    own = bodies.constant(model.cls, name) if isinstance(model.cls, Class) else []
    return strings([*own, *held])


def _embeddings(bodies: Bodies, model: Object) -> set[str]:
    """Names in `embedding_modules` of the class and of the modules that it holds."""
    found: set[str] = set()
    inner = [one for values in bodies.attributes(model).values() for one in values]
    for one in (model, *inner):
        if isinstance(one, Object) and isinstance(one.cls, Class):
            for value in bodies.constant(one.cls, "embedding_modules"):
                items = getattr(value, "items", {})
                if isinstance(value, Items):
                    found.update(strings([value]))
                elif isinstance(items, dict):
                    found.update(items)
    return found


@cache
def _pattern(path: str) -> re.Pattern[str]:
    return re.compile(re.escape(path).replace(r"\*", "[^.]+"))
