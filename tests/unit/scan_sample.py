"""A small vLLM in source, for the scan: its layers, LoRA layers, registry and models."""

from pathlib import Path

FILES = {
    "model_executor/layers/linear.py": """
import torch
class LinearBase(torch.nn.Module): ...
class ReplicatedLinear(LinearBase): ...
class ColumnParallelLinear(LinearBase): ...
class MergedColumnParallelLinear(ColumnParallelLinear): ...
class QKVParallelLinear(ColumnParallelLinear): ...
class RowParallelLinear(LinearBase): ...
class OddLinear(RowParallelLinear): ...
""",
    "model_executor/layers/conv.py": """
import torch
class Conv2dLayer(torch.nn.Module): ...
""",
    "lora/layers/all.py": """
class A:
    def can_replace_layer(cls, source_layer, packed_modules_list):
        if type(source_layer) is maybe_get_oot_by_class(ColumnParallelLinear):
            return True
        merged = maybe_get_oot_by_class(MergedColumnParallelLinear)
        return isinstance(source_layer, merged) and len(packed_modules_list) == 2
class B:
    def can_replace_layer(cls, source_layer, packed_modules_list):
        return type(source_layer) is QKVParallelLinear and len(packed_modules_list) == 3
class C:
    def can_replace_layer(cls, source_layer, packed_modules_list):
        return type(source_layer) is RowParallelLinear
class D:
    def can_replace_layer(cls, source_layer, packed_modules_list):
        return isinstance(source_layer, ReplicatedLinear)
""",
    "lora/model_manager.py": "self.model.supports_tower_connector_lora; get_mm_lora_token_counts",
    "model_executor/models/interfaces.py": """
class SupportsLoRA: packed_modules_mapping = {}
class SupportsMultiModal:
    supports_tower_connector_lora = False
    def get_mm_lora_token_counts(self): raise NotImplementedError
""",
    "model_executor/models/module_mapping.py": """
class MultiModelKeys:
    @staticmethod
    def from_string_field(language_model=None, connector=None, tower_model=None):
        def to_list(value):
            return [value] if isinstance(value, str) else list(value)
        return MultiModelKeys(
            language_model=to_list(language_model), connector=to_list(connector),
            tower_model=to_list(tower_model))
""",
    "model_executor/models/utils.py": """
def make_layers(n, layer_fn, prefix): ...
def init_vllm_registered_model(**kwargs): ...
""",
    "model_executor/models/text.py": """
import torch.nn as nn
from vllm.model_executor.layers.linear import QKVParallelLinear, RowParallelLinear
class Text(nn.Module):
    packed_modules_mapping = {"qkv_proj": ["q_proj", "k_proj", "v_proj"]}
    def __init__(self):
        super().__init__()
        self.qkv_proj = QKVParallelLinear(1, 1)
        self.o_proj = RowParallelLinear(1, 1)
""",
}

HEAD = """
import torch.nn as nn
import torch
from transformers import AutoModel
from vllm.model_executor.layers.linear import *
from vllm.model_executor.layers.linear import (
    ColumnParallelLinear, MergedColumnParallelLinear, OddLinear, QKVParallelLinear,
    ReplicatedLinear, RowParallelLinear)
from vllm.model_executor.layers.conv import Conv2dLayer
from .interfaces import SupportsLoRA, SupportsMultiModal
from .module_mapping import MultiModelKeys
from .text import Text
from .utils import init_vllm_registered_model, make_layers
"""

HOOK = """
    supports_tower_connector_lora = True
    def get_mm_lora_token_counts(self, **kwargs): return 1, 1
"""
MAPPING = """
    def get_mm_mapping(self):
        return MultiModelKeys.from_string_field(
            language_model="language_model", connector="visual.merger", tower_model="visual.")
"""


def write(folder: Path, model: str, *, manager: str = "", interfaces: str = "") -> Path:
    """A vLLM whose one registered class is `M` in the text `model`."""
    registry = '_M = {"MForIt": ("m", "M"), "TextForIt": ("text", "Text")}'
    files = FILES | {
        "model_executor/models/registry.py": registry,
        "model_executor/models/m.py": HEAD + model,
    }
    if manager:
        files["lora/model_manager.py"] = manager
    for name, text in files.items():
        file = folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")
    return folder
