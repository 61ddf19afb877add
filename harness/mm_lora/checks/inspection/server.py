"""The server that an adapter is for: its vLLM's rules for one class, its flags, its model."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

from mm_lora.families.family import Family
from mm_lora.families.modules import LANGUAGE
from mm_lora.serving.scan.peft_rules import PeftRules
from mm_lora.serving.scan.wrapping import Wrapping

Size = tuple[int, int]
"""Inputs and outputs of a linear module; (0, 0) where it is none."""


@dataclass(frozen=True, kw_only=True)
class Flags:
    """What of a server's command line decides. `targets`: --lora-target-modules, None without.
    `pins`: whether it keeps adapters in pinned memory, as servers with a GPU do."""

    tower: bool = True
    largest: int = 16
    targets: frozenset[str] | None = None
    pins: bool = False


@dataclass(frozen=True, kw_only=True)
class Server:
    """`sizes`: PEFT path → size of each module of the model; `own`: other names of the same, as
    the newest transformers has them."""

    family: Family
    model: str
    version: str
    wrapping: Wrapping
    rules: PeftRules
    flags: Flags
    sizes: Mapping[str, Size]
    own: Mapping[str, str]

    @cached_property
    def served(self) -> Mapping[str, str]:
        """vLLM's path of a module, before packing → its PEFT path."""
        return {self.family.to_vllm(path): path for path in self.sizes}

    def in_targets(self, layer: str) -> bool:
        """Whether --lora-target-modules has the layer (vllm/lora/utils.py::is_in_target_modules):
        by its name, its path, what it packs, or what packs it."""
        targets = self.flags.targets
        if targets is None:
            return True
        last = layer.rpartition(".")[2]
        packed = self.wrapping.packed
        return bool(
            {last, layer} & targets
            or set(packed.get(last, ())) & targets
            or any(last in parts and name in targets for name, parts in packed.items())
        )

    @property
    def without_tower(self) -> str:
        """Why no adapter of tower and connector can act; "" where they can."""
        said = self.wrapping.said
        if not self.wrapping.feature:
            return "this vLLM has no LoRA for towers and connectors"
        if not said.counts:
            return f"{said.cls.name} has no hook that counts rows of tower and connector"
        if not said.flag:
            return f"{said.cls.name} does not say supports_tower_connector_lora"
        return "" if self.flags.tower else "the server has no --enable-tower-connector-lora"

    @property
    def does_not_start(self) -> str:
        """Why a server with these flags ends at its start; "" where it starts."""
        if not self.wrapping.said.lora:
            return f"{self.wrapping.said.cls.name} takes no adapters: no SupportsLoRA"
        if self.flags.targets is None:
            return ""
        for one in self.wrapping.layers:
            layer, role = self.wrapping.layer(one.path), self.wrapping.role(one.path)
            wrapped = role == LANGUAGE or (role and not self.without_tower)
            if layer and wrapped and self.in_targets(one.path):
                why = self.wrapping.why_not(layer)
                if why:
                    return f"--lora-target-modules names {one.path}: {why}"
        return ""
