"""`inspect` without any vLLM: what is read in a class, and what becomes of each kind of key."""

import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from inspect_sample import (
    LANGUAGE,
    SIZES,
    TOWER,
    adapter,
    inspector,
    pair,
    server,
    source,
    whys,
)

from mm_lora.adapters.as_found import look
from mm_lora.adapters.bad import bad_adapters, bad_copy
from mm_lora.adapters.files import CONFIG, WEIGHTS
from mm_lora.adapters.found import found
from mm_lora.checks import defects
from mm_lora.checks.inspection import document as documents
from mm_lora.checks.inspection.findings import Fate, Inspection, Why
from mm_lora.checks.inspection.flags import assumed, flags_of
from mm_lora.checks.inspection.values import product
from mm_lora.core.errors import UsageError
from mm_lora.families.family import GoodAdapter
from mm_lora.report.inspect_lines import rendered

Q, OUT = f"{LANGUAGE}.q_proj", f"{LANGUAGE}.o_proj"


def inspect(folder: Path, **flags: Any) -> Inspection:
    return inspector(**flags).inspect("mine", look(folder))


def test_the_class_is_read_as_source() -> None:
    made, rules = source()
    assert made.renames.of("model.visual.blocks.0.x") == "visual.blocks.0.x"
    assert made.renames.of("odd.visual.blocks.0.oldname.end") == "visual.blocks.0.attn.weight"
    assert made.renames.of("a.oldname.b") == "a.attn.b"
    assert made.renames.of("talker.x") == "talker.x"
    assert not made.renames.unread
    assert made.accepted == {"q_proj", "k_proj", "v_proj", "o_proj", "qkv", "proj", "lm_head"}
    assert made.layer_of("visual.blocks.0.attn.qkv") == "visual.blocks.0.attn.qkv"
    assert rules.required == {"r", "lora_alpha", "target_modules"}
    assert rules.inits == {"gaussian", "eva"}


def test_a_good_adapter_is_applied_whole(tmp_path: Path) -> None:
    one = inspect(adapter(tmp_path, pair(Q), pair(OUT), pair(f"{TOWER}.qkv")))
    assert one.fate is Fate.APPLIED
    assert one.is_fine
    by_key = {tensor.key: tensor for tensor in one.tensors}
    told = by_key[f"base_model.model.{Q}.lora_B.weight"]
    assert told.layer == "language_model.model.layers.0.self_attn.qkv_proj"
    assert (told.wrapper, told.reason) == ("language", "as q_proj of it")
    assert {t.wrapper for t in one.tensors} == {"language", "tower"}
    (tower, language) = one.groups
    assert (tower.name, tower.modules, language.modules) == ("tower-attention", 1, 2)
    document = documents.document([one])
    assert set(document) == {"schema", "adapter", "model", "vllm", "verdict", "tensors", "groups"}
    keys = {"key", "verdict", "layer", "wrapper", "reason", "nearest"}
    assert all(set(row) == keys for row in document["tensors"])
    assert "applied" in "\n".join(map(str, rendered(one)))


BAD = {
    "text-class": ("model.layers.0.self_attn.o_proj", Fate.APPLIED, Why.NONE),
    "text-class-2": ("layers.0.self_attn.o_proj", Fate.IGNORED, Why.PREFIX),
    "newest": ("model.visual.newer.1.attn.proj", Fate.IGNORED, Why.NEWEST),
    "misspelt-path": ("model.visual.blocks.1.atn.proj", Fate.IGNORED, Why.MISSPELT),
    "misspelt-module": ("model.visual.blocks.1.attn.prj", Fate.REFUSED, Why.UNEXPECTED),
    "beyond": ("model.visual.blocks.7.attn.proj", Fate.IGNORED, Why.BEYOND),
    "no-lora-layer": ("model.visual.merger.mlp.0", Fate.REFUSED, Why.UNEXPECTED),
    "skipped": ("mtp.layers.0.self_attn.o_proj", Fate.IGNORED, Why.NO_LAYER),
    "apart": ("model.visual.blocks.1.attn.q_proj", Fate.IGNORED, Why.PACKED),
    "in-one": (f"{LANGUAGE}.qkv_proj", Fate.REFUSED, Why.UNEXPECTED),
}


@pytest.mark.parametrize("case", BAD)
def test_names(tmp_path: Path, case: str) -> None:
    module, fate, why = BAD[case]
    size = (8, 8) if "layers" in module else (6, 6)
    one = inspect(adapter(tmp_path, pair(module, size=size)))
    assert whys(one) == {(fate, why)}
    assert one.is_fine is (fate is Fate.APPLIED)
    if why in (Why.NEWEST, Why.MISSPELT, Why.PREFIX) or case == "misspelt-module":
        right = {key for path in SIZES for key in pair(path)}
        assert {tensor.nearest for tensor in one.tensors} <= right


def test_half_of_it_ignored_is_partly(tmp_path: Path) -> None:
    one = inspect(adapter(tmp_path, pair(OUT), pair("else.where.proj", size=(5, 5))))
    assert one.fate is Fate.PARTLY


def test_one_bad_name_refuses_the_whole(tmp_path: Path) -> None:
    one = inspect(adapter(tmp_path, pair(OUT), pair("model.visual.blocks.1.attn.prj", size=(6, 6))))
    assert {(t.fate, t.why) for t in one.tensors} == {
        (Fate.REFUSED, Why.UNEXPECTED),
        (Fate.REFUSED, Why.TOGETHER),
    }


def test_keys_that_vllm_cannot_read(tmp_path: Path) -> None:
    for number, (old, new) in enumerate(
        ((".weight", ".default.weight"), (".lora_B.weight", ".lora_magnitude_vector"))
    ):
        tensors = {key.replace(old, new): value for key, value in pair(OUT).items()}
        one = inspect(adapter(tmp_path / str(number), tensors))
        assert (one.fate, one.tensors[0].why) == (Fate.REFUSED, Why.KEY) or number
        assert one.fate is Fate.REFUSED


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ({"use_dora": True}, "use_dora"),
        ({"modules_to_save": ["lm_head"]}, "lm_head"),
        ({"bias": "all"}, "bias"),
        ({"r": 0}, "r is 0"),
        ({"r": "two"}, "cannot be used"),
        ({"lora_alpha": ...}, "no lora_alpha"),
        ({"init_lora_weights": "pissa"}, "pissa"),
        ({"r": 32}, "--max-lora-rank 16"),
        ({"rank_pattern": {"o_proj": 64}}, "64"),
    ],
)
def test_configurations_that_vllm_refuses(
    tmp_path: Path, config: dict[str, Any], words: str
) -> None:
    one = inspect(adapter(tmp_path, pair(OUT), **config))
    assert one.fate is Fate.REFUSED
    assert words in one.tensors[0].reason
    assert one.tensors[0].key == CONFIG


def test_configurations_that_it_takes(tmp_path: Path) -> None:
    taken = {"modules_to_save": ["classifier"], "init_lora_weights": "gaussian", "novel": 1}
    assert inspect(adapter(tmp_path, pair(OUT), **taken)).is_fine


def test_files_that_are_missing_or_damaged(tmp_path: Path) -> None:
    whole = adapter(tmp_path / "whole", pair(OUT))
    for number, (name, text) in enumerate(
        ((CONFIG, None), (CONFIG, "{"), (WEIGHTS, None), (WEIGHTS, ""), (WEIGHTS, "x" * 99))
    ):
        folder = tmp_path / str(number)
        folder.mkdir()
        for file in whole.iterdir():
            (folder / file.name).write_bytes(file.read_bytes())
        (folder / name).unlink()
        if text is not None:
            (folder / name).write_text(text)
        one = inspect(folder)
        assert (one.fate, one.tensors[0].key) == (Fate.REFUSED, name)
    (folder / WEIGHTS).write_bytes((whole / WEIGHTS).read_bytes()[:-3])
    assert inspect(folder).fate is Fate.REFUSED


def test_flags(tmp_path: Path) -> None:
    folder = adapter(tmp_path, pair(OUT), pair(f"{TOWER}.proj"))
    assert whys(inspect(folder, tower=False)) == {("applied", Why.NONE), ("ignored", Why.TOWER_OFF)}
    off = inspect(folder, targets=frozenset({"o_proj"}))
    assert whys(off) == {("applied", Why.NONE), ("ignored", Why.TARGETS)}
    for names in ({"qkv_proj"}, {"q_proj"}):
        one = inspect(adapter(tmp_path / "q", pair(Q)), targets=frozenset(names))
        assert one.fate is Fate.APPLIED
    dies = inspect(folder, targets=frozenset({"o_proj", "0"}))
    assert "does not start" in dies.tensors[0].reason


def test_a_command_line_of_flags() -> None:
    told = flags_of(
        "vllm serve x --enable_tower-connector-lora --max-lora-rank=64 "
        "--lora-target-modules o_proj qkv_proj --port 1",
        pins=True,
    )
    assert (told.tower, told.largest, told.pins) == (True, 64, True)
    assert told.targets == {"o_proj", "qkv_proj"}
    assert not flags_of("", pins=False).tower
    assert assumed([2, 33], pins=False).largest == 64
    for text in ("'", "--max-lora-rank many"):
        with pytest.raises(UsageError):
            flags_of(text, pins=False)


def test_halves_and_doubles(tmp_path: Path) -> None:
    a, b = list(pair(Q).items()), list(pair(OUT).items())
    packed = inspect(adapter(tmp_path / "a", dict(a[1:]), pair(OUT)))
    assert whys(packed) == {("ignored", Why.HALF), ("applied", Why.NONE)}
    alone = inspect(adapter(tmp_path / "b", dict(b[1:]), pair(Q)))
    assert alone.fate is Fate.REFUSED
    without_b = inspect(adapter(tmp_path / "c", dict(a[:1]), pair(OUT)))
    assert without_b.fate is Fate.REFUSED
    unscaled = inspect(adapter(tmp_path / "d", dict(a[:1]), pair(OUT), lora_alpha=2))
    assert unscaled.fate is Fate.PARTLY
    twice = inspect(
        adapter(
            tmp_path / "e",
            pair(OUT),
            pair("layers.0.self_attn.o_proj", size=(8, 8), prefix="model."),
        )
    )
    assert whys(twice) == {("ignored", Why.OVERWRITTEN), ("applied", Why.NONE)}


def test_shapes_and_ranks(tmp_path: Path) -> None:
    larger = inspect(adapter(tmp_path / "a", pair(OUT, size=(8, 12))))
    assert larger.fate is Fate.REFUSED
    others = (("small-one", {OUT: (8, 6)}),)
    smaller = inspector(others=others).inspect(
        "x", look(adapter(tmp_path / "b", pair(OUT, size=(8, 6))))
    )
    assert smaller.fate is Fate.APPLIED
    assert not smaller.is_fine
    assert any("small-one has that size" in tensor.reason for tensor in smaller.tensors)
    above = inspect(adapter(tmp_path / "c", pair(OUT, rank=4), r=2), largest=2)
    assert above.fate is Fate.REFUSED
    odd = inspect(adapter(tmp_path / "d", pair(OUT, rank=4), r=2))
    assert (odd.fate, odd.is_fine) == (Fate.APPLIED, False)


def test_numbers(tmp_path: Path) -> None:
    zero = inspect(adapter(tmp_path / "zero", pair(OUT, b=0)))
    assert (zero.fate, zero.is_fine) == (Fate.APPLIED, False)
    assert any("not trained" in tensor.reason for tensor in zero.tensors)
    for name, value in (("nan", np.nan), ("inf", np.inf)):
        bad = pair(OUT)
        bad[f"base_model.model.{OUT}.lora_B.weight"][0, 0] = value
        one = inspect(adapter(tmp_path / name, bad))
        assert any("1 of 16 values" in tensor.reason for tensor in one.tensors)
        assert not one.is_fine


def test_the_size_of_the_effect_is_that_of_the_product() -> None:
    random = np.random.default_rng(0)
    a, b = random.normal(size=(3, 7)), random.normal(size=(5, 3))
    singular = np.linalg.svd(b @ a, compute_uv=False)
    shares = singular[singular > 1e-9] / singular.sum()
    effect, rank = product(a, b)
    assert effect == pytest.approx(np.linalg.norm(b @ a))
    assert rank == pytest.approx(np.exp(-(shares * np.log(shares)).sum()), rel=1e-5)
    assert product(a, 0 * b) == (0, 0)


def test_scales_that_vllm_takes_otherwise(tmp_path: Path) -> None:
    made = inspector()
    rules = made.server.rules
    older = type(rules)(**{**vars(rules), "known": rules.known - {"alpha_pattern"}})
    changed = type(made)(
        **{**vars(made), "server": type(made.server)(**{**_fields(made.server), "rules": older})}
    )
    folder = adapter(tmp_path, pair(OUT), alpha_pattern={"o_proj": 8})
    assert made.inspect("x", look(folder)).is_fine
    one = changed.inspect("x", look(folder))
    assert "scale of 4, which this vLLM takes as 2" in one.tensors[0].reason
    assert not one.is_fine


def _fields(thing: Any) -> dict[str, Any]:
    return {name: getattr(thing, name) for name in thing.__dataclass_fields__}


def test_known_defects_are_named(tmp_path: Path) -> None:
    entries = tuple(defects.load())
    folder = adapter(tmp_path, pair(f"{TOWER}.proj"))
    one = inspector(entries, tower=False).inspect("x", look(folder))
    assert "adapter-half-applied" not in one.tensors[0].reason
    folder = adapter(tmp_path / "b", pair("else.where.self_attn.o_proj", size=(8, 8)))
    one = inspector(entries).inspect("x", look(folder))
    assert all("(known defect adapter-modules-ignored)" in t.reason for t in one.tensors)


def test_folders_zips_and_trainers(tmp_path: Path) -> None:
    for step in (2, 10):
        adapter(tmp_path / "run" / f"checkpoint-{step}", pair(OUT))
    names = ["run/checkpoint-2", "run/checkpoint-10"]
    with found(tmp_path / "run") as seen:
        assert [name for name, _ in seen] == names
    adapter(tmp_path / "run", pair(OUT))
    with found(tmp_path / "run") as seen:
        assert [name for name, _ in seen] == ["run", *names]
    with zipfile.ZipFile(tmp_path / "one.zip", "w") as archive:
        for file in (tmp_path / "run").iterdir():
            if file.is_file():
                archive.write(file, f"inner/{file.name}")
        archive.writestr("../evil/adapter_config.json", "{}")
    with found(tmp_path / "one.zip") as seen:
        assert "one/inner" in [name for name, _ in seen]
        assert all(inspect(folder).is_fine for name, folder in seen if name == "one/inner")
    assert not (tmp_path.parent / "evil").exists()
    (tmp_path / "empty").mkdir()
    for path in (tmp_path / "empty", tmp_path / "nothing", tmp_path / "run" / CONFIG):
        with pytest.raises(UsageError), found(path):
            pass


def test_heads_alone_say_what_is_ignored(tmp_path: Path, monkeypatch: Any) -> None:
    folder = adapter(tmp_path, pair(OUT), pair("else.where.proj", size=(5, 5)))
    made = inspector()
    lean = type(made)(**{**vars(made), "numbers": False})
    monkeypatch.setattr("mm_lora.adapters.as_found.tensor", lambda *given: pytest.fail("read"))
    assert lean.inspect("x", look(folder)).fate is Fate.PARTLY


def test_shards_are_read_and_refused(tmp_path: Path) -> None:
    folder = adapter(tmp_path, pair(OUT))
    (folder / WEIGHTS).rename(folder / "adapter_model-1.safetensors")
    index = {"weight_map": dict.fromkeys(pair(OUT), "adapter_model-1.safetensors")}
    (folder / f"{WEIGHTS}.index.json").write_text(json.dumps(index))
    one = inspect(folder)
    assert (one.fate, len(one.tensors)) == (Fate.REFUSED, 3)
    (folder / "adapter_model.bin").write_bytes(b"")
    with pytest.raises(UsageError, match="pickle"):
        look(folder)


def test_no_lora_of_towers_for_a_class_without_hook() -> None:
    made = server()
    said = type(made.wrapping.said)(**{**_fields(made.wrapping.said), "flag": False})
    fields = {**_fields(made.wrapping), "said": said}
    fields.pop("_found")
    bare = type(made)(**{**_fields(made), "wrapping": type(made.wrapping)(**fields)})
    assert "supports_tower_connector_lora" in bare.without_tower


def test_bad_adapters_fare_as_measured_on_real_servers(tmp_path: Path) -> None:
    """known_defects.toml has what vLLM 0.32.0 does with each kind: refused, or taken in silence."""
    taken = ("adapter-modules-ignored", "adapter-half-applied", "adapter-tensors-unchecked")
    taken = (*taken, "peft-type-ignored", "nan-stays-in-kv-cache")
    entries = {one.id: one for one in defects.load()}
    accepted = {check.rpartition("/")[2] for one in taken for check in entries[one].checks}
    names = [f"model.language_model.layers.{n}.self_attn" for n in (0, 1)]
    modules = [pair(f"{one}.{end}_proj", rank=8) for one in names for end in "qvo"]
    good = adapter(tmp_path / "good", *modules, r=8, lora_alpha=16)
    words = GoodAdapter(adapter="", parent="self_attn", fused="v_proj", plain="o_proj", outputs=8)
    wrong = {}
    for kind, bad in bad_adapters(words).items():
        one = inspect(bad_copy(good, tmp_path / kind, kind, words), largest=8)
        if (one.fate is not Fate.REFUSED) is not (kind in accepted or not bad.says):
            wrong[kind] = (one.fate, one.tensors[0].reason)
        assert one.is_fine is (not bad.says) or kind == "unknown-type", kind
    assert wrong == {}
