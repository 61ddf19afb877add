"""Compares what a class says with the layers that it makes: the findings of one class."""

import ast
from collections.abc import Iterator
from dataclasses import dataclass, field

from mm_lora.families.modules import CONNECTOR, LANGUAGE, TOWER
from mm_lora.serving.scan.bodies import Bodies
from mm_lora.serving.scan.claims import Claims, packed
from mm_lora.serving.scan.findings import Finding, Kind
from mm_lora.serving.scan.tree import Layer, Sort, layers
from mm_lora.serving.scan.values import Given, Object
from mm_lora.serving.scan.wrappers import Wrappers

_VISION = (TOWER, CONNECTOR)
_LANGUAGE_NAMES = frozenset({f"{name}_proj" for name in ("q", "k", "v", "o", "gate", "up", "down")})
"""What nearly every language model calls its layers: for one that only the config names."""


@dataclass
class Judge:
    """The layers of one class that has the feature."""

    bodies: Bodies
    said: Claims
    wrappers: Wrappers
    layers: list[Layer] = field(default_factory=list)
    _paths: list[str] = field(default_factory=list)
    _accepted: frozenset[str] = frozenset()
    _open: bool = False

    def __post_init__(self) -> None:
        cls = self.said.cls
        model = Object(cls, cls.module, ast.Name(cls.name), Given())
        every, self._paths = layers(self.bodies, model)
        self.layers = [one for one in every if self._role(one) in _VISION]
        self._uncovered = [one for one in every if self._role(one) is None]
        self._packed, self._packed_open = packed(self.bodies, model)
        names = {one.last for one in every if one.sort is Sort.LINEAR}
        self._accepted = frozenset(
            part for name in names for part in self._packed.get(name) or (name,)
        )
        language = [one for one in every if self._role(one) == LANGUAGE]
        self._open = not language or any(one.sort is Sort.UNKNOWN for one in language)
        if self._open:
            self._accepted |= _LANGUAGE_NAMES

    def _role(self, layer: Layer) -> str | None:
        below = "." if layer.sort is Sort.UNKNOWN else ""  # what it holds, is below it
        return self.said.role(layer.path + below)

    def findings(self) -> list[Finding]:
        """One for each kind and module."""
        found: dict[tuple[Kind, str], Finding] = {}
        every = (self._prefixes(), self._missed(), *map(self._layer, self.layers))
        for one in (finding for some in every for finding in some):
            found.setdefault((one.kind, one.path), one)
        return list(found.values())

    def _prefixes(self) -> Iterator[Finding]:
        """Prefixes that no module has; not where a part of their path is unknown."""
        for role in _VISION:
            for prefix in (self.said.prefixes or {}).get(role, ()):
                bare = prefix.rstrip(".")
                if any(f"{path}.".startswith(prefix) for path in self._paths):
                    continue
                unknown = [
                    one.path for one in (*self.layers, *self._uncovered) if one.sort is Sort.UNKNOWN
                ]
                if any(bare.startswith(path.rstrip("*")) for path in unknown):
                    continue
                yield self._about(
                    Kind.PREFIX,
                    bare,
                    self.said.mapping_line,
                    f"no layer gets the rows of the {role} under this name: an adapter for what "
                    "was meant is ignored, or gets the rows of another part",
                    f"get_mm_mapping says {role} {prefix!r}, and no attribute is called so",
                )

    def _missed(self) -> Iterator[Finding]:
        """Layers under no prefix, and what is made at run time there."""
        for layer in self._uncovered:
            if layer.sort is Sort.LINEAR and self.wrappers.knows(layer):
                yield self._at(
                    layer,
                    Kind.UNCOVERED,
                    "vLLM warns at the start that no PunicaWrapper matches; an adapter for this "
                    "layer is accepted and ignored",
                    f"{_short(layer)} under none of the prefixes of get_mm_mapping",
                )

    def _layer(self, layer: Layer) -> Iterator[Finding]:
        if layer.sort is Sort.UNKNOWN:
            yield self._at(
                layer,
                Kind.UNKNOWN,
                "whether an adapter for this part acts cannot be read: look with a server",
                f"made by {layer.cls}",
            )
        elif layer.sort is Sort.PLAIN and not self.wrappers.knows(layer):
            yield self._plain(layer)
        elif layer.sort is Sort.CONVOLUTION and not self.wrappers.knows(layer):
            yield self._at(
                layer,
                Kind.CONVOLUTION,
                self._without(layer),
                f"{_short(layer)}, for which vllm/lora/layers has no class",
            )
        elif layer.sort is Sort.LINEAR:
            yield from self._linear(layer)

    def _linear(self, layer: Layer) -> Iterator[Finding]:
        if not self.wrappers.knows(layer):
            yield self._at(
                layer,
                Kind.NO_WRAPPER,
                self._without(layer),
                f"{_short(layer)}: no can_replace_layer in vllm/lora/layers takes this class",
            )
            return
        names = self._packed.get(layer.last, ())
        if not self.wrappers.fused(layer):
            if "ReplicatedLinear" in map(_last, layer.lineage) and len(names) > 1:
                yield self._single(layer, names)
            return
        if self.wrappers.fits(layer, len(names)):
            return
        if not names and self._packed_open:
            yield self._at(
                layer,
                Kind.UNKNOWN,
                "whether an adapter for this layer acts depends on the language model's class",
                f"{_short(layer)}; the class has no packed_modules_mapping of its own, and the "
                "config names its language model",
            )
            return
        entry = f"has {len(names)} names for it" if names else f"has no entry {layer.last!r}"
        yield self._at(
            layer,
            Kind.FUSED,
            self._without(layer, names),
            f"{_short(layer)}, and packed_modules_mapping {entry}",
        )

    def _single(self, layer: Layer, names: tuple[str, ...]) -> Finding:
        others = any(one.path == layer.path and one.cls != layer.cls for one in self.layers)
        when = "where the class takes this layer and not its other one, " if others else ""
        return self._at(
            layer,
            Kind.SINGLE,
            f"{when}an adapter for {', '.join(names)} is refused with an AssertionError",
            f"{_short(layer)}, whose LoRA layer takes one tensor and gets {len(names)}",
        )

    def _plain(self, layer: Layer) -> Finding:
        what = "nn.Linear" if len(layer.lineage) == 1 else f"{_short(layer)}, an nn.Linear"
        return self._at(
            layer,
            Kind.PLAIN,
            self._without(layer),
            f"{what}, for which vllm/lora/layers has no class",
        )

    def _without(self, layer: Layer, packed: tuple[str, ...] = ()) -> str:
        """What becomes of an adapter for a layer that vLLM does not wrap."""
        names = packed or (layer.last,)
        if set(names) & self._accepted:
            return "an adapter for this layer is accepted and ignored"
        unless = f", or accepted and ignored where the language model has a {layer.last!r}"
        return (
            f"an adapter with this layer is refused: {layer.last!r} is no expected target module"
            f"{unless if self._open else ''}"
        )

    def _at(self, layer: Layer, kind: Kind, notice: str, evidence: str) -> Finding:
        return Finding(
            kind=kind,
            name=self.said.cls.name,
            path=layer.path,
            file=layer.file,
            line=layer.node.lineno,
            notice=notice,
            evidence=evidence,
        )

    def _about(self, kind: Kind, path: str, line: int, notice: str, evidence: str) -> Finding:
        cls = self.said.cls
        return Finding(
            kind=kind,
            name=cls.name,
            path=path,
            file=cls.module.file,
            line=line,
            notice=notice,
            evidence=evidence,
        )


def _short(layer: Layer) -> str:
    return _last(layer.cls)


def _last(name: str) -> str:
    return name.rpartition(".")[2]
