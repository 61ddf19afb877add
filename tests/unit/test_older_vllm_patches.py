"""Patches for older vLLMs do, on stand-ins, what their reasons say."""

from types import ModuleType
from typing import Any

import pytest

from mm_lora.inside import target_modules
from mm_lora.inside.families.llama4 import router_weight
from mm_lora.inside.fixes import one_layer_one_name, peft_patterns


def manager_module() -> Any:
    class LoRAModelManager:
        def __init__(self) -> None:
            self.modules: dict[str, object] = {}

        def register_module(self, module_name: str, module: object) -> None:
            self.modules[module_name] = module

        def _match_target_modules(self, module_name: str) -> bool:
            return "proj" in module_name or module_name.endswith("experts")

    module = ModuleType("vllm.lora.model_manager")
    module.LoRAModelManager = LoRAModelManager  # type: ignore[attr-defined]
    return module


def test_a_layer_keeps_its_first_name() -> None:
    module = manager_module()
    one_layer_one_name.PATCH.apply(module)
    manager, layer = module.LoRAModelManager(), object()
    manager.register_module("shared_expert.down_proj", layer)
    manager.register_module("experts._shared_experts.down_proj", layer)
    manager.register_module("o_proj", object())
    assert list(manager.modules) == ["shared_expert.down_proj", "o_proj"]


def test_only_the_named_modules_are_wrapped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(target_modules.VARIABLE, "o_proj other")
    module = manager_module()
    target_modules.PATCH.apply(module)
    matches = module.LoRAModelManager()._match_target_modules
    assert [matches(name) for name in ("a.o_proj", "a.q_proj", "a.experts", "a.other")] == [
        True,
        False,
        False,
        False,
    ]


def test_without_the_choice_all_are_wrapped_as_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(target_modules.VARIABLE, raising=False)
    module = manager_module()
    target_modules.PATCH.apply(module)
    assert module.LoRAModelManager()._match_target_modules("a.experts")


CONFIG = {"r": 8, "lora_alpha": 16, "rank_pattern": {"q_proj": 2}, "alpha_pattern": {"fc2": 40}}


@pytest.mark.parametrize(
    ("config", "path", "scale"),
    [
        (CONFIG, "layers.0.q_proj", 8.0),
        (CONFIG, "layers.0.fc2", 5.0),
        (CONFIG, "layers.0.o_proj", 2.0),
        (CONFIG, "layers.0.xq_proj", 2.0),
        ({**CONFIG, "use_rslora": True, "rank_pattern": {"q_proj": 4}}, "q_proj", 8.0),
        ({"r": 8, "lora_alpha": 16}, "q_proj", 2.0),
    ],
)
def test_patterns_scale_as_peft_does(config: dict[str, Any], path: str, scale: float) -> None:
    assert peft_patterns.scale(config, path) == scale


class Number(float):
    """A weight of the router, with the three things that the patch asks of a tensor."""

    shape = ()
    dtype = "float32"

    def to(self, dtype: str) -> float:
        return float(self)

    def new_ones(self, shape: tuple[int, ...]) -> float:
        return 1.0


@pytest.mark.parametrize(("on_input", "given"), [(True, (2.0, 1.0)), (False, (8.0, 0.25))])
def test_the_router_weight_goes_onto_the_input(on_input: bool, given: tuple[float, float]) -> None:
    class CPUFusedMOE:
        def __init__(self) -> None:
            self.forward_method: Any = lambda layer, x, weights, ids: (x, float(weights))

        def __call__(
            self, layer: object, x: Any, top_k: int, apply_router_weight_on_input: bool = False
        ) -> Any:
            assert not apply_router_weight_on_input
            return self.forward_method(layer, x, Number(0.25), 3)

    module = ModuleType("cpu_fused_moe")
    module.CPUFusedMOE = CPUFusedMOE  # type: ignore[attr-defined]
    router_weight.PATCH.apply(module)
    experts = module.CPUFusedMOE()
    x = type("X", (float,), {"dtype": "float32"})(8.0)
    before = experts.forward_method
    assert experts(object(), x, 1, on_input) == given
    assert experts.forward_method is before
