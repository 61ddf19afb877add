"""A forgotten entry of `packed_modules_mapping`, on stand-ins of a class and a manager."""

from types import SimpleNamespace
from typing import Any, ClassVar

from mm_lora.inside.packed_entries import chosen, with_entry


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
