"""`inspect --repair`: the copy is applied whole, and its B·A is the original's bit by bit."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from inspect_sample import LANGUAGE, SIZES, TOWER, adapter, inspector, pair

from mm_lora.adapters.as_found import look
from mm_lora.adapters.files import CONFIG, WEIGHTS, read, read_config
from mm_lora.adapters.scale import scale_of
from mm_lora.checks.inspection.findings import Fate
from mm_lora.checks.inspection.repair import Repaired, repair
from mm_lora.core.errors import UsageError

OUT = f"{LANGUAGE}.o_proj"
PREFIX = "base_model.model."


def repaired(source: Path, target: Path, *, drop: bool = False, **flags: Any) -> Repaired:
    made = inspector(**flags)
    found = look(source)
    done = repair(found, made.inspect("x", found), made.server, target, drop=drop)
    again = made.inspect("x", look(target))
    assert again.fate is Fate.APPLIED, [t.reason for t in again.tensors]
    return done


def products(folder: Path) -> Mapping[str, np.ndarray]:
    """Module → scale·B·A, of F32 tensors."""
    tensors = {key: t.values().reshape(t.shape) for key, t in read(folder).items()}
    config = read_config(folder)
    found = {}
    for key, a in tensors.items():
        if ".lora_A." in key:
            module = key.removeprefix(PREFIX).partition(".lora_A.")[0]
            b = tensors[key.replace("lora_A", "lora_B")]
            found[module] = scale_of(config, module) * (b @ a)
    return found


def varied(module: str, **more: Any) -> dict[str, np.ndarray]:
    """A pair whose B differs from row to row."""
    made = pair(module, **more)
    key = next(key for key in made if ".lora_B." in key)
    made[key] = np.arange(made[key].size, dtype=np.float32).reshape(made[key].shape) + 1
    return made


def test_a_good_adapter_stays_as_it_is(tmp_path: Path) -> None:
    source = adapter(tmp_path / "a", varied(OUT), varied(f"{TOWER}.qkv"), alpha_pattern={"qkv": 8})
    (source / "README.md").write_text("mine")
    done = repaired(source, tmp_path / "b")
    assert done.lines() == []
    assert (source / WEIGHTS).read_bytes() == (tmp_path / "b" / WEIGHTS).read_bytes()
    assert read_config(tmp_path / "b")["alpha_pattern"] == {"qkv": 8}
    assert (tmp_path / "b" / "README.md").read_text() == "mine"


def test_names_become_those_of_the_class(tmp_path: Path) -> None:
    old = {
        "model.visual.newer.1.attn.proj": f"{TOWER}.proj",
        "model.visual.blocks.0.atn.proj": "model.visual.blocks.0.attn.proj",
        f"{OUT}.linear": OUT,
    }
    made = [varied(name, size=SIZES[right]) for name, right in old.items()]
    source = adapter(tmp_path / "a", *made)
    done = repaired(source, tmp_path / "b")
    assert len([line for line in done.lines() if line.startswith("renamed")]) == 6
    before, after = products(source), products(tmp_path / "b")
    assert set(after) == set(old.values())
    for name, right in old.items():
        assert before[name].tobytes() == after[right].tobytes()


@pytest.mark.parametrize("parts", ["qkv", "qv", "k"])
def test_projections_apart_become_one(tmp_path: Path, parts: str) -> None:
    made = [varied(f"{TOWER}.{one}_proj", size=(6, 6)) for one in parts]
    source = adapter(tmp_path / "a", *made, r=2, use_rslora=True, alpha_pattern={"x": 1})
    done = repaired(source, tmp_path / "b")
    assert list(done.joined) == [f"{TOWER}.qkv"]
    before = products(source)
    zero = np.zeros((6, 6), np.float32)
    whole = np.concatenate([before.get(f"{TOWER}.{one}_proj", zero) for one in "qkv"])
    after = products(tmp_path / "b")[f"{TOWER}.qkv"]
    assert np.allclose(after, whole, rtol=1e-6)
    config = read_config(tmp_path / "b")
    assert (config["r"], config["rank_pattern"].get(f"{TOWER}.qkv", 2)) == (2, 2 * len(parts))


def test_one_projection_becomes_three(tmp_path: Path) -> None:
    source = adapter(tmp_path / "a", varied(f"{LANGUAGE}.qkv_proj", size=(8, 16)))
    done = repaired(source, tmp_path / "b")
    names = [f"{LANGUAGE}.{one}_proj" for one in "qkv"]
    assert done.split == {f"{LANGUAGE}.qkv_proj": tuple(names)}
    after = products(tmp_path / "b")
    whole = np.concatenate([after[name] for name in names])
    assert whole.tobytes() == products(source)[f"{LANGUAGE}.qkv_proj"].tobytes()


def test_what_cannot_be_served_goes_only_when_asked(tmp_path: Path) -> None:
    lost = pair("model.visual.merger.mlp.0"), dict(list(pair(f"{TOWER}.qkv").items())[:1])
    source = adapter(tmp_path / "a", varied(OUT), *lost)
    with pytest.raises(UsageError, match=r"3 tensors cannot be served(.|\n)*--drop"):
        repaired(source, tmp_path / "b")
    assert not (tmp_path / "b").exists()
    done = repaired(source, tmp_path / "b", drop=True)
    assert len(done.dropped) == 3
    assert set(products(tmp_path / "b")) == {OUT}
    off = adapter(tmp_path / "c", varied(OUT), varied(f"{TOWER}.proj"))
    done = repaired(off, tmp_path / "d", drop=True, tower=False)
    assert all("--enable-tower-connector-lora" in why for why in done.dropped.values())


def test_what_no_copy_can_mend_is_said(tmp_path: Path) -> None:
    for number, config in enumerate(({"use_dora": True}, {"r": 64}, {"lora_alpha": ...})):
        source = adapter(tmp_path / str(number), varied(OUT), **config)
        with pytest.raises(UsageError, match="cannot be repaired"):
            repaired(source, tmp_path / "b", drop=True)
    source = adapter(tmp_path / "a", varied(OUT))
    with pytest.raises(UsageError, match="not an empty folder"):
        repaired(source, source)
    (source / CONFIG).write_text("{")
    with pytest.raises(UsageError, match="cannot be repaired"):
        repaired(source, tmp_path / "b")
    alone = adapter(tmp_path / "e", varied("model.visual.merger.mlp.0"))
    with pytest.raises(UsageError, match="nothing of the adapter"):
        repaired(alone, tmp_path / "b", drop=True)
    different = [varied(f"{TOWER}.{one}_proj", size=(6, 6)) for one in "qkv"]
    source = adapter(tmp_path / "f", *different, alpha_pattern={"q_proj": 9})
    with pytest.raises(UsageError, match="cannot be joined"):
        repaired(source, tmp_path / "b")
