"""Tensors in safetensors files, without torch: their shapes, their bytes and their values."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from operator import itemgetter
from pathlib import Path

import numpy as np
import safetensors

from mm_lora.core.errors import UsageError

# The format's name of a kind: the library's for writing, and numpy's. It has no bfloat16, which
# is the upper half of a float32.
_KINDS = {"F32": ("float32", "<f4"), "F16": ("float16", "<f2"), "BF16": ("bfloat16", "<u2")}
NAMES = {kind: name for kind, (name, _) in _KINDS.items()}
"""A kind of tensor as the format calls it → as torch and PEFT call it."""


@dataclass(frozen=True)
class Tensor:
    """One tensor as safetensors keeps it: `dtype` as there ("F32", …), row-major little endian."""

    dtype: str
    shape: tuple[int, ...]
    data: bytes

    def values(self) -> np.ndarray:
        """Its values in fp32, flat. Raises KeyError for another kind than F32, F16 and BF16."""
        raw = np.frombuffer(self.data, _KINDS[self.dtype][1])
        if self.dtype == "BF16":
            return (raw.astype("<u4") << 16).view("<f4")
        return raw.astype("<f4")

    def filled(self, value: float) -> "Tensor":
        """The same, with `value` everywhere."""
        one = encoded(value, self.dtype)
        return replace(self, data=one * (len(self.data) // len(one)))


def encoded(value: float, dtype: str) -> bytes:
    """The bytes of one value in F32, F16 or BF16, rounded to the nearest. Raises KeyError."""
    number = np.array(value, "<f4")
    if dtype == "BF16":
        bits = int(number.view("<u4"))
        number = np.array((bits + 0x7FFF + (bits >> 16 & 1)) >> 16)
    return number.astype(_KINDS[dtype][1]).tobytes()


def shapes(file: Path) -> dict[str, tuple[int, ...]]:
    """The shape of each tensor, from the file's head alone.

    Raises UsageError for a file that cannot be read, is cut off or has more than its head says.
    """
    try:
        with safetensors.safe_open(file, framework="np") as opened:
            return {key: tuple(opened.get_slice(key).get_shape()) for key in opened.keys()}  # noqa: SIM118
    except (OSError, safetensors.SafetensorError) as error:
        raise _unreadable(file, error) from None


@dataclass(frozen=True)
class Head:
    """What a file's head says of a tensor: its kind ("F32", …), shape, and place in the file."""

    dtype: str
    shape: tuple[int, ...]
    start: int
    end: int


def heads(file: Path) -> dict[str, Head]:
    """The head of each tensor, in the order in which the library lists them; no tensor is read.

    Raises UsageError as `shapes` does.
    """
    try:
        with safetensors.safe_open(file, framework="np") as opened:
            names = list(opened.keys())
        with file.open("rb") as raw:
            size = int.from_bytes(raw.read(8), "little")
            said = json.loads(raw.read(size))
    except (OSError, ValueError, safetensors.SafetensorError) as error:
        raise _unreadable(file, error) from None
    first = 8 + size
    return {
        name: Head(
            said[name]["dtype"],
            tuple(said[name]["shape"]),
            first + said[name]["data_offsets"][0],
            first + said[name]["data_offsets"][1],
        )
        for name in names
    }


def tensor(file: Path, head: Head) -> Tensor:
    """One tensor of a file, read alone."""
    with file.open("rb") as raw:
        raw.seek(head.start)
        return Tensor(head.dtype, head.shape, raw.read(head.end - head.start))


def read(file: Path) -> dict[str, Tensor]:
    """Every tensor of the file, by key in order. Raises UsageError as `shapes` does."""
    try:
        found = safetensors.deserialize(file.read_bytes())
    except (OSError, safetensors.SafetensorError) as error:
        raise _unreadable(file, error) from None
    return {
        key: Tensor(one["dtype"], tuple(one["shape"]), bytes(one["data"]))
        for key, one in sorted(found, key=itemgetter(0))
    }


def write(file: Path, tensors: Mapping[str, Tensor]) -> None:
    """Replace the file's tensors. Raises KeyError as `values` does."""
    kept = {key: np.frombuffer(tensor.data, np.uint8) for key, tensor in tensors.items()}
    told = {
        key: safetensors.TensorSpec(
            dtype=_KINDS[tensor.dtype][0],
            shape=tensor.shape,
            data_ptr=kept[key].ctypes.data,
            data_len=len(tensor.data),
        )
        for key, tensor in tensors.items()
    }
    file.write_bytes(safetensors.serialize(told))  # its own file writing is for the owner alone


def _unreadable(file: Path, error: Exception) -> UsageError:
    size = f" ({file.stat().st_size} bytes)" if file.is_file() else ""
    return UsageError(
        f"{file}{size} is not a complete safetensors file: {error}",
        "that the download finished, or copy the folder again",
    )
