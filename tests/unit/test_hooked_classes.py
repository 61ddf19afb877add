"""Classes with a count hook are found in a vLLM's source, inherited hooks and flags included."""

from pathlib import Path

import pytest

from mm_lora.serving.hooked_classes import HookedClass, hooked_classes

REGISTRY = """
_MODELS = {
    "AForGeneration": ("a", "A"),
    "ARenamed": ("a", "A"),
    "BForGeneration": ("b", "B"),
    "CForGeneration": ("c", "C"),
    "DForGeneration": ("c", "D"),
}
"""
A = """
class A(Module, SupportsLoRA):
    supports_tower_connector_lora = True
    def get_mm_mapping(self): ...
    def get_mm_lora_token_counts(self, *, modality, mm_kwargs, num_mm_embeds): ...
"""
B = "class B(A): pass\n"
C = """
class C(SupportsMultiModal):
    def get_mm_mapping(self): ...

class D(Module):
    supports_tower_connector_lora: bool = False
    def get_num_mm_encoder_tokens(self, n): ...
    def get_num_mm_connector_tokens(self, n): ...
"""
INTERFACES = """
class SupportsMultiModal:
    def get_mm_lora_token_counts(self): raise NotImplementedError
"""


@pytest.fixture
def package(tmp_path: Path) -> Path:
    folder = tmp_path / "model_executor" / "models"
    folder.mkdir(parents=True)
    files = {"registry": REGISTRY, "a": A, "b": B, "c": C, "interfaces": INTERFACES}
    for name, text in files.items():
        (folder / f"{name}.py").write_text(text)
    return tmp_path


def test_own_and_inherited_hooks(package: Path) -> None:
    assert hooked_classes(package) == [
        HookedClass(
            module="a",
            name="A",
            architectures=("AForGeneration", "ARenamed"),
            flag=True,
            mapping=True,
        ),
        HookedClass(
            module="b", name="B", architectures=("BForGeneration",), flag=True, mapping=True
        ),
        HookedClass(
            module="c", name="D", architectures=("DForGeneration",), flag=False, mapping=False
        ),
    ]


def test_a_mapping_alone_or_the_interface_is_no_hook(package: Path) -> None:
    assert "C" not in {one.name for one in hooked_classes(package)}


def test_no_vllm_there(tmp_path: Path) -> None:
    assert hooked_classes(tmp_path) == []
