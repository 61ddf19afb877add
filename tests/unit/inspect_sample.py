"""A small vLLM in source and a small model, for tests of `inspect`: no vLLM, no torch."""

import json
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import numpy as np
import scan_sample

from mm_lora.adapters.files import CONFIG, WEIGHTS
from mm_lora.adapters.tensors import Tensor
from mm_lora.adapters.tensors import write as write_tensors
from mm_lora.checks.defects import Defect
from mm_lora.checks.inspection.findings import Inspection, Why
from mm_lora.checks.inspection.judge import Inspector
from mm_lora.checks.inspection.server import Flags, Server, Size
from mm_lora.families import registry
from mm_lora.families.family import VllmClass
from mm_lora.serving.scan.peft_rules import PeftRules, peft_rules
from mm_lora.serving.scan.wrapping import Wrapping, wrapping

FAMILY = registry.family("qwen2.5-vl")
MODEL = """
import re
class Attention(nn.Module):
    def __init__(self):
        super().__init__()
        self.qkv_proj = QKVParallelLinear(1, 1)
        self.o_proj = RowParallelLinear(1, 1)
class Layer(nn.Module):
    def __init__(self):
        super().__init__()
        self.self_attn = Attention()
class Inner(nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = nn.ModuleList([Layer() for _ in range(n)])
class Language(nn.Module):
    packed_modules_mapping = {"qkv_proj": ["q_proj", "k_proj", "v_proj"]}
    embedding_modules = {"lm_head": "output_embeddings"}
    def __init__(self):
        super().__init__()
        self.model = Inner()
class TowerAttention(nn.Module):
    def __init__(self):
        super().__init__()
        self.qkv = QKVParallelLinear(1, 1)
        self.proj = RowParallelLinear(1, 1)
class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.attn = TowerAttention()
class Merger(nn.Module):
    def __init__(self):
        super().__init__()
        self.mlp = nn.Sequential(nn.Linear(1, 1), nn.GELU(), nn.Linear(1, 1))
class Tower(nn.Module):
    def __init__(self):
        super().__init__()
        self.blocks = nn.ModuleList([Block() for _ in range(n)])
        self.merger = Merger()
class M(nn.Module, SupportsLoRA, SupportsMultiModal):
    packed_modules_mapping = {"qkv_proj": ["q_proj", "k_proj", "v_proj"], "qkv": ["qkv"]}
    lora_skip_prefixes = ["mtp."]
    hf_to_vllm_mapper = WeightsMapper(
        orig_to_new_regex={re.compile(r"^odd\\.(\\w+)\\."): r"\\1."},
        orig_to_new_substr={".oldname.": ".attn."},
        orig_to_new_prefix={
            "model.language_model.": "language_model.model.", "model.visual.": "visual.",
            "talker.": None, "model.": "language_model.model."},
        orig_to_new_suffix={".end": ".weight"})
    def __init__(self):
        super().__init__()
        self.visual = Tower()
        self.language_model = Language()
"""
UTILS = """
class WeightsMapper:
    def __init__(self, **kwargs): ...
"""
HELPER = """
class PEFTHelper:
    r: int
    lora_alpha: int
    target_modules: list
    bias: str = field(default="none")
    modules_to_save: list = field(default=None)
    use_rslora: bool = field(default=False)
    use_dora: bool = field(default=False)
    init_lora_weights: bool = field(default=True)
    rank_pattern: dict = field(default_factory=dict)
    alpha_pattern: dict = field(default_factory=dict)
    def _validate_features(self):
        if self.modules_to_save:
            left = [m for m in self.modules_to_save if m not in ["classifier", "score"]]
        if self.use_dora: ...
        if not self._init_is_supported(): self.init_lora_weights
    def _init_is_supported(self):
        return self.init_lora_weights in ("gaussian", "eva")
"""
SIZES: Mapping[str, Size] = {
    **{
        f"model.language_model.layers.{n}.self_attn.{p}_proj": (8, 4 if p in "kv" else 8)
        for n in (0, 1)
        for p in "qkvo"
    },
    **{f"model.visual.blocks.{n}.attn.qkv": (6, 18) for n in (0, 1)},
    **{f"model.visual.blocks.{n}.attn.proj": (6, 6) for n in (0, 1)},
    **{f"model.visual.merger.mlp.{n}": (6, 6) for n in (0, 2)},
}
LANGUAGE = "model.language_model.layers.0.self_attn"
TOWER = "model.visual.blocks.1.attn"


@cache
def source() -> tuple[Wrapping, PeftRules]:
    """What is read of the small vLLM's one class."""
    folder = Path(mkdtemp(prefix="inspect-sample-"))
    mapping = scan_sample.MAPPING.replace('"visual.merger"', '"visual.merger."')
    scan_sample.write(folder, MODEL + scan_sample.HOOK + mapping)
    utils = folder / "model_executor/models/utils.py"
    utils.write_text(utils.read_text() + UTILS)
    file = folder / "model_executor/models/m.py"
    head = "from .utils import WeightsMapper\n"
    file.write_text(head + file.read_text())
    (folder / "lora/peft_helper.py").write_text(HELPER)
    return wrapping(folder, VllmClass(module="m", name="M")), peft_rules(folder)


def server(**flags: Any) -> Server:
    """With the small model."""
    made, rules = source()
    return Server(
        family=FAMILY,
        model="qwen2.5-vl",
        version="0.32.0",
        wrapping=made,
        rules=rules,
        flags=Flags(**flags),
        sizes=SIZES,
        own={"model.visual.newer.1.attn.proj": f"{TOWER}.proj"},
    )


def inspector(
    defects: tuple[Defect, ...] = (),
    others: tuple[tuple[str, Mapping[str, Size]], ...] = (),
    **flags: Any,
) -> Inspector:
    return Inspector(server=server(**flags), defects=defects, platform="cpu", others=lambda: others)


def pair(
    module: str, *, rank: int = 2, size: Size | None = None, b: float = 1.0, prefix: str = ""
) -> dict[str, np.ndarray]:
    """A and B of a module, by key."""
    inputs, outputs = size or SIZES[module]
    values = np.arange(rank * inputs, dtype=np.float32).reshape(rank, inputs) + 1
    start = prefix or "base_model.model."
    return {
        f"{start}{module}.lora_A.weight": values,
        f"{start}{module}.lora_B.weight": np.full((outputs, rank), b, np.float32),
    }


def adapter(folder: Path, *pairs: Mapping[str, np.ndarray], **config: Any) -> Path:
    """A PEFT folder of these tensors; rank 2 and alpha 4 unless `config` says otherwise."""
    folder.mkdir(parents=True, exist_ok=True)
    said = {"peft_type": "LORA", "r": 2, "lora_alpha": 4, "target_modules": ["x"], **config}
    (folder / CONFIG).write_text(json.dumps({k: v for k, v in said.items() if v is not ...}))
    tensors = {
        key: Tensor("F32", value.shape, value.tobytes())
        for one in pairs
        for key, value in one.items()
    }
    write_tensors(folder / WEIGHTS, tensors)
    return folder


def whys(one: Inspection) -> set[tuple[str, Why]]:
    """(verdict, why) of the tensors."""
    return {(str(tensor.fate), tensor.why) for tensor in one.tensors}
