"""The user's own adapters: what their files say, and what is refused before a server starts."""

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from mm_lora.adapters.own import OwnAdapter, read, read_all
from mm_lora.core.errors import UsageError
from mm_lora.families import registry

LLAMA4 = registry.family("llama4")

FC1 = "vision_model.model.layers.0.mlp.fc1"
Q = "language_model.model.layers.0.self_attn.q_proj"
MODEL = {f"{FC1}.weight": (256, 64), f"{Q}.weight": (128, 128), f"{FC1}.bias": (256,)}


def key(path: str, side: str) -> str:
    return f"base_model.model.{path}.lora_{side}.weight"


def pair(path: str, rows: int, columns: int, rank: int = 8) -> dict[str, list[int]]:
    return {key(path, "A"): [rank, columns], key(path, "B"): [rows, rank]}


def write(folder: Path, shapes: Mapping[str, list[int]], **config: Any) -> Path:
    """A PEFT folder with tensors of those shapes, all zero."""
    folder.mkdir(exist_ok=True)
    settings = {"peft_type": "LORA", "r": 8, "lora_alpha": 16, **config}
    (folder / "adapter_config.json").write_text(json.dumps(settings))
    head, end = {}, 0
    for name, shape in shapes.items():
        begin, end = end, end + 4 * math.prod(shape)
        head[name] = {"dtype": "F32", "shape": shape, "data_offsets": [begin, end]}
    text = json.dumps(head).encode()
    data = len(text).to_bytes(8, "little") + text + bytes(end)
    (folder / "adapter_model.safetensors").write_bytes(data)
    return folder


def adapter(folder: Path, shapes: Mapping[str, list[int]], **config: Any) -> OwnAdapter:
    return read("mine", write(folder, shapes, **config))


def test_a_fitting_adapter(tmp_path: Path) -> None:
    own = adapter(tmp_path, pair(FC1, 256, 64))
    assert not own.misfit("scout", MODEL)
    own.require_rank(8)
    built = own.built(LLAMA4)
    assert not built.reaches_language(LLAMA4)
    assert built.path == tmp_path
    assert built.coverage == [
        {"group": "tower-mlp", "modules": 1, "tensors": 2, "parameters": 8 * (256 + 64)}
    ]
    assert adapter(tmp_path, pair(Q, 128, 128)).built(LLAMA4).reaches_language(LLAMA4)


@pytest.mark.parametrize(
    ("shapes", "words"),
    [
        (pair(FC1, 5632, 1408), "256 outputs, the adapter is for 1408 and 5632"),
        (pair("vision_tower.fc1", 256, 64), "no linear module vision_tower.fc1"),
    ],
)
def test_another_models(tmp_path: Path, shapes: dict[str, list[int]], words: str) -> None:
    assert words in adapter(tmp_path, shapes).misfit("scout", MODEL)


def test_rank_is_that_of_the_tensors(tmp_path: Path) -> None:
    own = adapter(tmp_path, pair(FC1, 256, 64) | pair(Q, 128, 128, rank=32), r=8)
    with pytest.raises(UsageError, match="has rank 32; the server's maximum is 16"):
        own.require_rank(16)


@pytest.mark.parametrize(
    ("shapes", "config", "words"),
    [
        ({}, {}, "'mine' is empty"),
        ({key(FC1, "A"): [8, 64]}, {}, "do not fit together"),
        ({key(FC1, "A"): [8, 64], key(FC1, "B"): [256, 4]}, {}, "do not fit together"),
        ({f"base_model.model.{FC1}.lora_magnitude_vector": [1, 256]}, {}, "not a lora_A or lora_B"),
        (pair(FC1, 256, 64), {"peft_type": "IA3"}, "peft_type 'IA3'"),
        (pair(FC1, 256, 64), {"r": 0}, "r 0"),
        (pair(FC1, 256, 64), {"lora_alpha": None}, "cannot be read"),
    ],
)
def test_no_lora_adapter(
    tmp_path: Path, shapes: dict[str, list[int]], config: dict[str, Any], words: str
) -> None:
    with pytest.raises(UsageError, match=words):
        adapter(tmp_path, shapes, **config)


def test_damaged_or_missing_files(tmp_path: Path) -> None:
    folder = write(tmp_path / "x", pair(FC1, 256, 64))
    weights = folder / "adapter_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-4])
    with pytest.raises(UsageError, match="is not a complete safetensors file"):
        read("mine", folder)
    weights.unlink()
    with pytest.raises(UsageError, match=r"has no adapter_model\.safetensors"):
        read("mine", folder)
    (folder / "adapter_config.json").write_text("[]")
    with pytest.raises(UsageError, match="cannot be read"):
        read("mine", folder)


def test_names(tmp_path: Path) -> None:
    folder = write(tmp_path / "x", pair(FC1, 256, 64))
    assert list(read_all([f"my-one.v2={folder}"])) == ["my-one.v2"]
    for name in ("all", "scout", "base"):
        with pytest.raises(UsageError, match="is taken"):
            read_all([f"{name}={folder}"])
    with pytest.raises(UsageError, match="is taken"):
        read_all([f"a={folder}", f"a={folder}"])
    for word in ("a", f"={folder}", "a="):
        with pytest.raises(UsageError, match="is not NAME=FOLDER"):
            read_all([word])
    with pytest.raises(UsageError, match="cannot be an adapter's name"):
        read_all([f"a/b={folder}"])
