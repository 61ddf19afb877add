"""Every kind of bad adapter is bad in exactly the way that its name says, and in no other."""

import json
import struct
from pathlib import Path

import numpy as np
import pytest

from mm_lora.adapters import broken as adapters_broken
from mm_lora.adapters import files as adapter_bytes
from mm_lora.adapters.bad import KINDS, bad_adapters
from mm_lora.adapters.bad import bad_copy as bad_copy_of
from mm_lora.adapters.files import CONFIG, WEIGHTS, read, read_config, write
from mm_lora.adapters.tensors import Tensor
from mm_lora.core.errors import UsageError
from mm_lora.families import registry

GOOD = registry.family("llama4").good
BAD = bad_adapters(GOOD)

PREFIX = "base_model.model.vision_model.model.layers"
GOOD_CONFIG = {"peft_type": "LORA", "r": 8, "lora_alpha": 16, "bias": "none"}


def bad_copy(folder: Path, target: Path, kind: str) -> Path:
    return bad_copy_of(folder, target, kind, GOOD)


def good_tensors() -> dict[str, Tensor]:
    tensors = {}
    for layer in (0, 1):
        for module in ("v_proj", "o_proj"):
            for part, shape in (("A", (8, 64)), ("B", (64, 8))):
                key = f"{PREFIX}.{layer}.self_attn.{module}.lora_{part}.weight"
                tensors[key] = Tensor("F32", shape, struct.pack("<512f", *range(512)))
    return tensors


@pytest.fixture
def good(tmp_path: Path) -> Path:
    folder = tmp_path / "good"
    folder.mkdir()
    write(folder, good_tensors())
    (folder / CONFIG).write_text(json.dumps(GOOD_CONFIG))
    return folder


def lost(folder: Path) -> set[str]:
    return {key.removeprefix(PREFIX) for key in good_tensors().keys() - read(folder).keys()}


def added(folder: Path) -> set[str]:
    return {key.removeprefix(PREFIX) for key in read(folder).keys() - good_tensors().keys()}


def reshaped(folder: Path) -> dict[str, tuple[int, ...]]:
    old, new = good_tensors(), read(folder)
    changed = {key: new[key].shape for key in old.keys() & new.keys() if new[key] != old[key]}
    return {key.removeprefix(PREFIX): shape for key, shape in changed.items()}


def test_what_is_written_is_read_again(good: Path) -> None:
    assert read(good) == good_tensors()
    size = int.from_bytes((good / WEIGHTS).read_bytes()[:8], "little")
    assert size % 8 == 0


@pytest.mark.parametrize(
    ("kind", "gone"),
    [
        ("missing-b", ".o_proj.lora_B"),
        ("missing-b-fused", ".v_proj.lora_B"),
        ("missing-a", ".v_proj.lora_A"),
    ],
)
def test_missing(good: Path, tmp_path: Path, kind: str, gone: str) -> None:
    bad = bad_copy(good, tmp_path / "bad", kind)
    assert lost(bad) == {f".{layer}.self_attn{gone}.weight" for layer in (0, 1)}
    assert not added(bad)
    assert not reshaped(bad)
    assert (read_config(bad)["lora_alpha"] == 8) is (kind == "missing-b-fused")


@pytest.mark.parametrize(("kind", "count"), [("shape-larger", 128), ("shape-smaller", 32)])
def test_shapes(good: Path, tmp_path: Path, kind: str, count: int) -> None:
    bad = bad_copy(good, tmp_path / "bad", kind)
    assert reshaped(bad) == {f".{n}.self_attn.o_proj.lora_B.weight": (count, 8) for n in (0, 1)}
    assert all(len(t.data) == 4 * t.shape[0] * t.shape[1] for t in read(bad).values())


@pytest.mark.parametrize(
    ("kind", "in_config", "in_tensors"),
    [("rank-in-config", 4, 8), ("rank-in-tensors", 8, 16), ("rank-above-maximum", 16, 16)],
)
def test_ranks(good: Path, tmp_path: Path, kind: str, in_config: int, in_tensors: int) -> None:
    bad = bad_copy(good, tmp_path / "bad", kind)
    assert read_config(bad)["r"] == in_config
    assert {t.shape for t in read(bad).values()} == {(in_tensors, 64), (64, in_tensors)}
    for key, tensor in read(bad).items():  # the added ranks are zeros, the rest stays in place
        width = tensor.shape[1]
        values = struct.unpack(f"<{len(tensor.data) // 4}f", tensor.data)
        kept = [
            values[r * width + c]
            for r in range(tensor.shape[0])
            for c in range(width)
            if (r < 8 if ".lora_A." in key else c < 8)
        ]
        assert kept == list(map(float, range(512)))
        assert sum(values) == sum(range(512))


@pytest.mark.parametrize(
    ("kind", "part", "count"),
    [
        ("other-prefix", "base_model.model.other.vision_model", 8),
        ("misspelt-module", ".o_prj.", 4),
        ("misspelt-path", ".1.self_atn.", 4),
        ("layer-beyond", ".99.self_attn.", 4),
        ("other-type", "hada_w1_a", 4),
    ],
)
def test_names(good: Path, tmp_path: Path, kind: str, part: str, count: int) -> None:
    bad = bad_copy(good, tmp_path / "bad", kind)
    assert sum(part in key for key in read(bad)) == count == len(lost(bad))
    assert list(read(bad).values()) == list(good_tensors().values())


@pytest.mark.parametrize(
    ("kind", "value"), [("nan", "nan"), ("infinity", "inf"), ("overflow", "3e+38")]
)
def test_values(good: Path, tmp_path: Path, kind: str, value: str) -> None:
    (changed,) = reshaped(bad_copy(good, tmp_path / "bad", kind))
    tensor = read(tmp_path / "bad")[PREFIX + changed]
    first, second = struct.unpack("<2f", tensor.data[:8])
    assert (".lora_B." in changed, f"{first:.3g}", second) == (True, value, 1.0)


@pytest.mark.parametrize(
    ("kind", "key", "value"),
    [
        ("unknown-type", "peft_type", "NOVEL"),
        ("other-type", "peft_type", "LOHA"),
        ("dora", "use_dora", True),
        ("modules-to-save", "modules_to_save", ["lm_head"]),
        ("bias", "bias", "lora_only"),
        ("lora-bias", "lora_bias", True),
        ("fan-in-fan-out", "fan_in_fan_out", True),
    ],
)
def test_configs(good: Path, tmp_path: Path, kind: str, key: str, value: object) -> None:
    bad = bad_copy(good, tmp_path / "bad", kind)
    assert read_config(bad) == {**GOOD_CONFIG, key: value}


@pytest.mark.parametrize(
    ("kind", "part", "shape", "count"),
    [
        ("dora", ".lora_magnitude_vector", (64,), 4),
        ("dora-undeclared", ".lora_magnitude_vector", (64,), 4),
        ("bias", ".base_layer.bias", (64,), 4),
        ("lora-bias", ".lora_B.bias", (64,), 4),
        ("modules-to-save", "lm_head.weight", (8, 128), 1),
    ],
)
def test_additions(
    good: Path, tmp_path: Path, kind: str, part: str, shape: tuple[int, ...], count: int
) -> None:
    bad = bad_copy(good, tmp_path / "bad", kind)
    mine = [tensor for key, tensor in read(bad).items() if key.endswith(part)]
    assert [tensor.shape for tensor in mine] == [shape] * count
    assert not lost(bad)
    assert len(added(bad)) == count


def test_files(good: Path, tmp_path: Path) -> None:
    def made(kind: str) -> Path:
        return bad_copy(good, tmp_path / kind, kind)

    assert (made("empty-file") / WEIGHTS).stat().st_size == 0
    whole = (good / WEIGHTS).read_bytes()
    assert (made("truncated") / WEIGHTS).read_bytes() == whole[:-1000]
    assert read(made("no-tensors")) == {}
    assert not (made("no-config") / CONFIG).exists()
    with pytest.raises(ValueError, match="Expecting"):
        read_config(made("config-no-json"))
    with pytest.raises(OSError, match=r"symbolic|Errno"):
        (made("unreadable") / WEIGHTS).read_bytes()


def test_the_good_one_stays_and_every_kind_is_told(good: Path, tmp_path: Path) -> None:
    assert tuple(BAD) == KINDS
    for kind, bad in BAD.items():
        bad_copy(good, tmp_path / kind, kind)
        assert bad.what
    assert read(good) == good_tensors()
    assert read_config(good) == GOOD_CONFIG
    assert [kind for kind, bad in BAD.items() if not bad.says] == ["overflow", "fan-in-fan-out"]


@pytest.mark.parametrize("kind", adapters_broken.KINDS)
def test_broken_copies(good: Path, tmp_path: Path, kind: str) -> None:
    broken = adapters_broken.broken_copy(good, tmp_path / "broken", kind)
    same = adapter_bytes.read(broken) == good_tensors()
    assert same is (kind == "alpha")
    assert (read_config(broken) == GOOD_CONFIG) is (kind != "alpha")


ONE = {"F32": "<f4", "F16": "<f2", "BF16": "<u2"}


@pytest.mark.parametrize("dtype", ONE)
@pytest.mark.parametrize(("kind", "value"), [("nudge", 0.001), ("zero-b", 0.0)])
def test_b_is_filled_in_its_own_precision(
    tmp_path: Path, dtype: str, kind: str, value: float
) -> None:
    """A profile in 16 bits builds its adapters in 16 bits."""
    (tmp_path / "good").mkdir()
    size = 512 * np.dtype(ONE[dtype]).itemsize
    key = f"{PREFIX}.0.self_attn.o_proj.lora_B.weight"
    write(tmp_path / "good", {key: Tensor(dtype, (64, 8), bytes(size))})
    broken = adapters_broken.broken_copy(tmp_path / "good", tmp_path / "broken", kind)
    tensor = read(broken)[key]
    raw = np.frombuffer(tensor.data, ONE[dtype])
    values = (raw.astype("<u4") << 16).view("<f4") if dtype == "BF16" else raw
    assert values == pytest.approx(np.full(512, value), rel=2e-3)
    assert tensor.values() == pytest.approx(values)


def test_what_is_to_be_broken_is_an_adapter_of_a_family_or_the_users() -> None:
    adapters_broken.require_adapter("projector", ())
    adapters_broken.require_adapter("mine", ("mine",))
    with pytest.raises(UsageError, match="no adapter 'projctor' to break") as told:
        adapters_broken.require_adapter("projctor", ("mine",))
    assert str(told.value.check).startswith("projector, ")
