"""Breaks a copy of an adapter to see checks fail: the server gets it, the reference does not."""

import json
import shutil
import struct
from collections.abc import Callable, Mapping
from pathlib import Path

from mm_lora.adapter_sets import named
from mm_lora.errors import UsageError


def _alpha(folder: Path) -> None:
    file = folder / "adapter_config.json"
    config = json.loads(file.read_text(encoding="utf-8"))
    config["lora_alpha"] *= 1.05
    file.write_text(json.dumps(config), encoding="utf-8")


def _zero_b(folder: Path) -> None:
    header, data = _read(folder)
    values = bytearray(data)
    for key, entry in header.items():
        if ".lora_B." in key:
            start, end = entry["data_offsets"]
            values[start:end] = bytes(end - start)
    _write(folder, header, bytes(values))


def _nudge(folder: Path) -> None:
    """Every value of B becomes 0.001: an adapter that should do nothing does a little."""
    header, data = _read(folder)
    values = bytearray(data)
    for key, entry in header.items():
        if ".lora_B." in key:
            start, end = entry["data_offsets"]
            values[start:end] = struct.pack("<f", 0.001) * ((end - start) // 4)
    _write(folder, header, bytes(values))


def _prefix(folder: Path) -> None:
    header, data = _read(folder)
    wrong = {
        key.replace("base_model.model.", "base_model.model.other."): v for key, v in header.items()
    }
    _write(folder, wrong, data)


def _empty(folder: Path) -> None:
    _write(folder, {}, b"")


KINDS: Mapping[str, Callable[[Path], None]] = {
    "alpha": _alpha,  # 5 % more
    "zero-b": _zero_b,
    "nudge": _nudge,
    "prefix": _prefix,
    "empty": _empty,
}


def parse(setting: str) -> tuple[str, str]:
    """`ADAPTER:KIND` as its two parts. Raises UsageError: a typo must not break nothing."""
    name, _, kind = setting.partition(":")
    named(name)
    if kind not in KINDS:
        raise UsageError(f"no way '{kind}' to break an adapter", f"one of {', '.join(KINDS)}")
    return name, kind


def broken_copy(source: Path, target: Path, kind: str) -> Path:
    """Copy the adapter folder `source` to `target` and break the copy; `kind` is one of KINDS."""
    shutil.copytree(source, target)
    KINDS[kind](target)
    return target


def _read(folder: Path) -> tuple[dict[str, dict[str, list[int]]], bytes]:
    """Header and data of a safetensors file: 8 bytes of length (little endian), JSON, tensors."""
    raw = (folder / "adapter_model.safetensors").read_bytes()
    size = int.from_bytes(raw[:8], "little")
    header = json.loads(raw[8 : 8 + size])
    header.pop("__metadata__", None)
    return header, raw[8 + size :]


def _write(folder: Path, header: Mapping[str, object], data: bytes) -> None:
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    whole = len(text).to_bytes(8, "little") + text + data
    (folder / "adapter_model.safetensors").write_bytes(whole)
