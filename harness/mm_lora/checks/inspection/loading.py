"""Follows vLLM's loading of an adapter by its keys and shapes: what is refused, applied, ignored.

After vllm/lora/{lora_model,lora_weights,model_manager}.py and layers/*.py::set_lora; a test
holds the rules to what known_defects.toml measured on real servers.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property

from mm_lora.adapters.as_found import AsFound
from mm_lora.checks.inspection.findings import Fate, Tensor, Why
from mm_lora.checks.inspection.keys import A, B, is_base_weight, is_skipped, meant, read
from mm_lora.checks.inspection.server import Server, Size
from mm_lora.checks.inspection.spellings import Meaning, Spellings
from mm_lora.families.modules import LANGUAGE

_EXPERTS = ".experts"


@dataclass
class Loading:
    """One adapter on one server. `tensors`: a finding for each key, once `run`."""

    server: Server
    adapter: AsFound
    spellings: Spellings
    tensors: dict[str, Tensor] = field(default_factory=dict)

    def run(self) -> list[Tensor]:
        """The findings, in the order of the keys."""
        for key in self.adapter.heads:
            self.tensors[key] = self._named(key)
        for module, pair in self._modules.items():
            self._placed(module, pair)
        return [self.tensors[key] for key in self.adapter.heads]

    @cached_property
    def _read(self) -> Mapping[str, tuple[str, str]]:
        """Key → (module, side), of the keys that vLLM takes."""
        renames = self.server.wrapping.renames
        found = {key: read(key, renames) for key in self.adapter.heads}
        return {key: what for key, what in found.items() if what is not None}

    @cached_property
    def _modules(self) -> Mapping[str, Mapping[str, str]]:
        """Module in vLLM → side → key; of two keys for one the later, as vLLM has it."""
        found: dict[str, dict[str, str]] = {}
        for key, (module, side) in self._read.items():
            if is_base_weight(key) or is_skipped(key, self.server.wrapping.skipped):
                continue
            pair = found.setdefault(module, {})
            if side in pair:
                self._say(
                    pair[side],
                    Fate.IGNORED,
                    f"{key} is for the same module and comes later: vLLM keeps that one",
                    Why.OVERWRITTEN,
                    broken=True,
                )
            pair[side] = key
        return found

    @cached_property
    def sizes(self) -> Mapping[str, Size]:
        """Module as its keys spell it → inputs and outputs that its pair speaks of."""
        sides: dict[str, dict[str, tuple[int, ...]]] = {}
        for key, head in self.adapter.heads.items():
            module, side, _ = meant(key)
            sides.setdefault(module, {})[side] = head.shape
        return {
            module: (pair["lora_A"][1], pair["lora_B"][0])
            for module, pair in sides.items()
            if len(pair.get("lora_A", ())) == len(pair.get("lora_B", ())) == 2
        }

    def _meaning(self, key: str) -> Meaning | None:
        module, side, _ = meant(key)
        return self.spellings.meaning(module, self.sizes.get(module)) if side else None

    def _say(self, key: str, fate: Fate, reason: str, why: Why, *, broken: bool = False) -> None:
        one = self.tensors[key]
        self.tensors[key] = replace(one, fate=fate, reason=reason, why=why, broken=broken)

    def _named(self, key: str) -> Tensor:
        """By its name alone: what vLLM looks at before it loads any tensor."""
        wrapping = self.server.wrapping
        if is_base_weight(key):
            said = "a weight of the base model's own, saved beside the adapter: vLLM leaves it out"
            return Tensor(key=key, fate=Fate.IGNORED, reason=said, why=Why.SAVED)
        if is_skipped(key, wrapping.skipped):
            said = "of a part that vLLM's class does not run"
            return Tensor(key=key, fate=Fate.IGNORED, reason=said, why=Why.NO_LAYER)
        meaning = self._meaning(key)
        nearest = self.spellings.key(meaning.module, meant(key)[1]) if meaning else ""
        module = meaning.module if meaning and meaning.sure else ""
        if key not in self._read:
            said = _unsupported(key) + (f"; {meaning.said}" if meaning else "")
            return Tensor(
                key=key,
                fate=Fate.REFUSED,
                reason=said,
                nearest=nearest,
                why=Why.KEY,
                module=module,
            )
        name = self._read[key][0]
        if not self._expected(name, key):
            said = f"{name.rpartition('.')[2]!r} is the name of no layer that takes adapters"
            own = self.server.served.get(name, "")
            layer = wrapping.layer(name) if own else None
            if layer is not None and (why_not := wrapping.why_not(layer)):
                said = f"{said}: {why_not}"
            return Tensor(
                key=key,
                fate=Fate.REFUSED,
                reason=said,
                nearest="" if own else nearest,
                why=Why.UNEXPECTED,
                module=own or module,
            )
        return Tensor(key=key, fate=Fate.APPLIED)

    def _expected(self, module: str, key: str) -> bool:
        last, accepted = module.rpartition(".")[2], self.server.wrapping.accepted
        if "base_layer" in key or last in (self.adapter.config.get("modules_to_save") or ()):
            return True
        if _EXPERTS in module:
            return "experts" in accepted
        return last in accepted

    def _placed(self, module: str, pair: Mapping[str, str]) -> None:
        """Where vLLM puts a module's pair."""
        for side, key in pair.items():
            if self.tensors[key].fate is Fate.APPLIED:
                self.tensors[key] = self._in_layer(key, module)
                if _EXPERTS not in module:
                    self._sized(key, side)
        self._whole(module, pair)

    def _in_layer(self, key: str, module: str) -> Tensor:
        server, wrapping = self.server, self.server.wrapping
        experts = module.find(f"{_EXPERTS}.")
        path = module[: experts + len(_EXPERTS)] if experts >= 0 else wrapping.layer_of(module)
        layer, last = wrapping.layer(path), module.rpartition(".")[2]
        role = wrapping.role(path)
        peft = server.served.get(module, "")
        embedding = last in wrapping.embeddings and wrapping.makes(module)
        special = embedding or _EXPERTS in module
        placed = Tensor(key=key, fate=Fate.IGNORED, layer=path, wrapper=role or "", module=peft)
        if not peft and not special:
            return self._unknown(key, module)
        if not server.in_targets(path):
            said = "outside the server's --lora-target-modules"
            return replace(placed, reason=said, why=Why.TARGETS)
        if role is None:
            said = f"{path} lies under no prefix whose rows vLLM counts"
            return replace(placed, reason=said, why=Why.NO_HOOK)
        if role != LANGUAGE and server.without_tower:
            off = server.without_tower.startswith("the server")
            why = Why.TOWER_OFF if off else Why.NO_HOOK
            return replace(placed, reason=f"of the {role}: {server.without_tower}", why=why)
        if layer is None and not special:
            said = f"vLLM's class has no layer {path}"
            return replace(placed, reason=said, why=Why.NO_LAYER)
        if layer is not None and (why_not := wrapping.why_not(layer)):
            return replace(placed, reason=f"not wrapped: {why_not}", why=Why.NO_LAYER)
        slot = f"as {last} of it" if path != module else ""
        return replace(placed, fate=Fate.APPLIED, reason=slot)

    def _unknown(self, key: str, module: str) -> Tensor:
        meaning = self._meaning(key)
        if meaning is None:
            said = f"this server has no module {module}"
            return Tensor(key=key, fate=Fate.IGNORED, reason=said, why=Why.PREFIX)
        return Tensor(
            key=key,
            fate=Fate.IGNORED,
            reason=f"{meaning.said}: this server has no module {module}",
            nearest=self.spellings.key(meaning.module, meant(key)[1]),
            why=meaning.why,
            module=meaning.module if meaning.sure else "",
        )

    def _sized(self, key: str, side: str) -> None:
        """Whether a tensor fits its slot: vLLM copies what is smaller, and fails at the larger."""
        one = self.tensors[key]
        size = self.server.sizes.get(one.module, (0, 0))
        if one.fate is not Fate.APPLIED or size == (0, 0):
            return
        shape, largest = self.adapter.heads[key].shape, self.server.flags.largest
        own = (largest, size[0]) if side == A else (size[1], largest)
        axis = 1 if side == A else 0
        if len(shape) != 2:
            said = f"{_spelled(shape)}: vLLM takes matrices"
            self._say(key, Fate.REFUSED, said, Why.SHAPE, broken=True)
        elif shape[1 - axis] > largest:
            said = f"rank {shape[1 - axis]} is above the server's --max-lora-rank {largest}"
            self._say(key, Fate.REFUSED, said, Why.RANK)
        elif shape[axis] != own[axis]:
            what = "inputs" if side == A else "outputs"
            said = f"{shape[axis]} {what}, {one.module} has {own[axis]}"
            if shape[axis] > own[axis]:
                self._say(key, Fate.REFUSED, said, Why.SHAPE, broken=True)
            else:
                said += ": vLLM fills a part of the slot"
                self._say(key, Fate.APPLIED, said, Why.SHAPE, broken=True)

    def _whole(self, module: str, pair: Mapping[str, str]) -> None:
        """A module with one half of its pair."""
        if len(pair) == 2:
            return
        side, key = next(iter(pair.items()))
        one, pins = self.tensors[key], self.server.flags.pins
        if one.fate is Fate.REFUSED:
            return
        missing = f"lora_{B if side == A else A} is missing"
        name = meant(key)[0]
        slotted = one.fate is Fate.APPLIED and one.layer != module
        scaled = self._scale(key) != 1
        if side == A:  # without B
            refused = scaled or pins or (one.fate is Fate.APPLIED and not slotted)
        else:
            applied = one.fate is Fate.APPLIED and not slotted
            refused = applied or (not slotted and (pins or self._first == module))
        said = f"{name}: {missing}" + ("" if refused else ": vLLM ignores this half")
        fate = Fate.REFUSED if refused else Fate.IGNORED
        self._say(key, fate, said, Why.HALF, broken=True)

    @cached_property
    def _first(self) -> str:
        """The first module that is not put into a slot of another: vLLM looks at its A."""
        for module, pair in self._modules.items():
            one = self.tensors[next(iter(pair.values()))]
            if one.fate is not Fate.APPLIED or one.layer in ("", module):
                return module
        return ""

    def _scale(self, key: str) -> float:
        return self.server.rules.scaling(self.adapter.config, meant(key)[0])


def _unsupported(key: str) -> str:
    if key.endswith(".lora_magnitude_vector") or ".lora_magnitude_vector." in key:
        return "a magnitude of DoRA, which vLLM does not support"
    if key.endswith(".bias"):
        return "a bias, which vLLM does not support"
    if "modules_to_save" in key or key.endswith("trainable_tokens_delta"):
        return "a saved module or token, which vLLM does not load from an adapter"
    return "a key that vLLM cannot read as lora_A or lora_B of a module"


def _spelled(shape: tuple[int, ...]) -> str:
    return "×".join(map(str, shape)) or "a single number"
