"""A forgotten entry of `packed_modules_mapping`, on stand-ins of a class and a manager."""

import sys
from types import SimpleNamespace
from typing import Any, ClassVar

import pytest

from mm_lora.inside.packed_entries import chosen, in_parts, with_entry


class Model:
    packed_modules_mapping: ClassVar[dict[str, list[str]]] = {"qkv_proj": ["q_proj"]}

    def __init__(self, *, vllm_config: Any, prefix: str = "") -> None:
        self.given = (vllm_config, prefix)


def test_the_entry_is_added_to_one_model_alone() -> None:
    model = object.__new__(Model)
    with_entry("qkv")(Model.__init__)(model, vllm_config=1, prefix="p")
    assert model.given == (1, "p")
    assert model.packed_modules_mapping == {"qkv_proj": ["q_proj"], "qkv": ["qkv"]}
    assert "qkv" not in Model.packed_modules_mapping


def test_the_layer_is_chosen_below_its_prefix_of_its_class() -> None:
    match = chosen("qkv", "visual.", "Model")(lambda self, name: name.endswith("o_proj"))
    mine = SimpleNamespace(model=object.__new__(Model))
    names = ("visual.blocks.0.attn.qkv", "layers.0.qkv", "visual.blocks.0.qkv_bias", "x.o_proj")
    assert [match(mine, name) for name in names] == [True, False, False, True]
    other = SimpleNamespace(model=object())
    assert not match(other, names[0])


def test_a_layer_is_in_parts_below_its_prefix_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    class Wrapper:
        def __init__(self, base_layer: str, packed: tuple[str, ...] = ()) -> None:
            self.base_layer, self.packed, self.punica = base_layer, packed, ""

        def set_mapping(self, punica: str) -> None:
            self.punica = punica

    replaced: dict[str, Wrapper] = {}

    def replace_submodule(model: Any, path: str, layer: Wrapper) -> Wrapper:
        replaced[path] = layer
        return layer

    utils = SimpleNamespace(
        from_layer=lambda base, slots, config, packed, model: Wrapper(base, tuple(packed)),
        replace_submodule=replace_submodule,
    )
    monkeypatch.setitem(sys.modules, "vllm.lora.utils", utils)

    class Manager:
        model = SimpleNamespace(config=None)
        lora_slots, lora_config = 4, None

        def __init__(self) -> None:
            self.modules: dict[str, Wrapper] = {}
            self.packed_modules: dict[str, list[str]] = {}
            self.supported_lora_modules = ["fused"]

        def create(self) -> None:
            for path in ("visual.0.fused", "visual.0.fused.other", "text.0.fused"):
                self.modules[path] = Wrapper(f"base of {path}")

        def register_module(self, path: str, layer: Wrapper) -> None:
            self.modules[path] = layer

        def _get_punica_wrapper(self, path: str) -> str:
            return path.partition(".")[0]

    make = in_parts("fused", ("gate", "up"), below="visual.", model="SimpleNamespace")
    manager = Manager()
    make(Manager.create)(manager)
    assert list(replaced) == ["visual.0.fused"]
    layer = manager.modules["visual.0.fused"]
    assert (layer.base_layer, layer.packed) == ("base of visual.0.fused", ("gate", "up"))
    assert layer.punica == "visual"
    assert manager.packed_modules == {"visual.0.fused": ["visual.0.gate", "visual.0.up"]}
    assert manager.supported_lora_modules == ["fused", "gate", "up"]
    other = Manager()
    in_parts("fused", ("gate", "up"), below="visual.", model="Other")(Manager.create)(other)
    assert not other.packed_modules
