"""A model folder of the user's: whole, or an error that names the file."""

import json
from pathlib import Path

import pytest

from mm_lora.adapters.checkpoint_folder import check_folder, weight_shapes
from mm_lora.core.errors import UsageError
from mm_lora.core.weight_index import INDEX


def safetensors(file: Path, size: int = 8) -> None:
    """A file with one fp32 tensor of `size` bytes."""
    head = json.dumps(
        {"w": {"dtype": "F32", "shape": [size // 4], "data_offsets": [0, size]}, "__metadata__": {}}
    ).encode()
    file.write_bytes(len(head).to_bytes(8, "little") + head + bytes(size))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A whole checkpoint in two shards."""
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "tokenizer.json").write_text("{}")
    (tmp_path / "preprocessor_config.json").write_text("{}")
    shards = {"a": "model-1.safetensors", "b": "model-2.safetensors"}
    (tmp_path / INDEX).write_text(json.dumps({"weight_map": shards}))
    for shard in shards.values():
        safetensors(tmp_path / shard)
    return tmp_path


def test_whole(folder: Path) -> None:
    check_folder(folder)
    (folder / INDEX).unlink()
    check_folder(folder)


def test_shapes(folder: Path) -> None:
    assert weight_shapes(folder) == {"w": (2,)}


@pytest.mark.parametrize(
    "name",
    ["config.json", "model-2.safetensors", "tokenizer.json", "preprocessor_config.json"],
)
def test_missing_file_is_named(folder: Path, name: str) -> None:
    (folder / name).unlink()
    with pytest.raises(UsageError, match=name):
        check_folder(folder)


@pytest.mark.parametrize("kept", [0, 4, 8, 20, -1])
def test_cut_off_shard_is_named(folder: Path, kept: int) -> None:
    shard = folder / "model-2.safetensors"
    shard.write_bytes(shard.read_bytes()[:kept])
    with pytest.raises(UsageError, match=r"model-2\.safetensors"):
        check_folder(folder)


@pytest.mark.parametrize("content", ["{", "[]", '{"weight_map": 3}'])
def test_unreadable_index(folder: Path, content: str) -> None:
    (folder / INDEX).write_text(content)
    with pytest.raises(UsageError, match=r"index\.json"):
        check_folder(folder)


def test_git_lfs_pointer_is_no_weights_file(folder: Path) -> None:
    pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 5\n"
    (folder / "model-1.safetensors").write_text(pointer)
    with pytest.raises(UsageError, match="not a complete safetensors file"):
        check_folder(folder)
