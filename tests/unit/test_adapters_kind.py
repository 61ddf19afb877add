"""The kind of a user's adapter: its modules, spelling, ranks and scales on a miniature."""

import re
from pathlib import Path
from typing import Any

import pytest
from test_adapters_own import adapter, key

from mm_lora.adapters.keys import PREFIX
from mm_lora.adapters.kind import Kind, Modules, kind_of
from mm_lora.core.errors import UsageError
from mm_lora.families import registry

FAMILY = registry.family("qwen2.5-vl")
Q, V = (f"model.language_model.layers.{{}}.self_attn.{name}_proj" for name in "qv")
QKV = "visual.blocks.{}.attn.qkv"
PUBLISHED = {
    **{Q.format(at): (3584, 3584) for at in range(28)},
    **{V.format(at): (3584, 512) for at in range(28)},
    **{QKV.format(at): (1280, 3840) for at in range(32)},
}
MODULES = Modules(
    published=PUBLISHED,
    miniature={path: (64, 64) for path in PUBLISHED if re.search(r"\.[01]\.", path)},
    named={QKV.format(at): "model." + QKV.format(at) for at in range(32)},
)


def shaped(path: str, inputs: int, outputs: int, rank: int = 8) -> dict[str, list[int]]:
    return {key(path, "A"): [rank, inputs], key(path, "B"): [outputs, rank]}


def pair(path: str, rank: int = 8) -> dict[str, list[int]]:
    return shaped(path, *PUBLISHED[path], rank)


def kind(folder: Path, shapes: dict[str, list[int]], **config: Any) -> Kind:
    return kind_of(adapter(folder, shapes, **config), FAMILY, "qwen2.5-vl", MODULES)


def test_modules_ranks_and_scales(tmp_path: Path) -> None:
    shapes = {k: s for at in (0, 1, 27) for k, s in pair(Q.format(at), 4 if at else 8).items()}
    found = kind(
        tmp_path, shapes, lora_alpha=32, use_rslora=True, rank_pattern={r"layers\.(1|27)\..*": 4}
    )
    assert found.kept == (Q.format(0), Q.format(1))
    assert found.deeper == (Q.format(27),)
    assert found.unknown == ()
    assert found.ranks == (4, 8)
    spec = found.spec
    assert (spec.rank, spec.alpha, spec.dtype, spec.form) == (8, 32.0, "float32", "")
    assert dict(spec.peft) == {"rank_pattern": {r"layers\.(1|27)\..*": 4}, "use_rslora": True}
    assert spec.roles == ("language",)
    assert all(re.fullmatch(spec.pattern, path) for path in found.kept)
    assert not re.fullmatch(spec.pattern, Q.format(27))


def test_modules_are_named_as_transformers_names_them(tmp_path: Path) -> None:
    spec = kind(tmp_path, pair(QKV.format(0))).spec
    assert re.fullmatch(spec.pattern, "model." + QKV.format(0))
    assert not re.fullmatch(spec.pattern, QKV.format(0))


@pytest.mark.parametrize(
    ("form", "spelled"),
    [
        # In this family the same as on the text-only class.
        ("older-names", lambda k: k.replace(".language_model.", ".")),
        ("no-prefix", lambda k: k.removeprefix(PREFIX)),
        ("adapter-name", lambda k: k.replace(".weight", ".default.weight")),
        ("inner-linear", lambda k: k.replace(".lora_", ".linear.lora_")),
    ],
)
def test_spellings(tmp_path: Path, form: str, spelled: Any) -> None:
    found = kind(tmp_path, {spelled(k): shape for k, shape in pair(V.format(0)).items()})
    assert found.spec.form == form
    assert found.kept == (V.format(0),)
    assert found.plain.form == ""
    assert found.plain.stream == found.spec.name


def test_newest_names(tmp_path: Path) -> None:
    keys = pair(QKV.format(1)).items()
    found = kind(tmp_path, {k.replace("visual.", "model.visual."): shape for k, shape in keys})
    assert found.spec.form == "own-names"


def test_a_pattern_over_another_class_names_is_made_one_over_these(tmp_path: Path) -> None:
    """The text-only class has no `language_model` in its paths."""
    shapes = pair(V.format(0)) | pair(V.format(1), rank=2)
    spelled = {k.replace(".language_model.", "."): shape for k, shape in shapes.items()}
    pattern = "^base|model.layers.1.self_attn.v_proj"
    spec = kind(tmp_path, spelled, rank_pattern={pattern: 2}, alpha_pattern={pattern: 8}).spec
    options = dict(spec.peft)
    assert options["rank_pattern"] == {re.escape(V.format(1)): 2, pattern: 2}
    assert options["alpha_pattern"] == {re.escape(V.format(1)): 8.0, pattern: 8}


def test_what_no_spelling_explains_is_left_out_and_said(tmp_path: Path) -> None:
    odd = {key("model.what.0", side): [8, 8] for side in "AB"}
    found = kind(tmp_path, pair(V.format(0)) | odd)
    assert found.unknown == ("model.what.0",)


@pytest.mark.parametrize(
    ("shapes", "config", "words"),
    [
        (
            {key("what.0", "A"): [8, 8], key("what.0", "B"): [8, 8]},
            {},
            r"qwen2\.5-vl has no module what\.0, in any spelling",
        ),
        (
            {key(V.format(0), "A"): [8, 99], key(V.format(0), "B"): [512, 8]},
            {},
            "is for 99 and 512",
        ),
        (pair(V.format(20)), {}, "does not have: model.language_model.layers.20"),
        (pair(V.format(0), rank=4), {}, "has rank 4 at .*, and 8 by its adapter_config"),
    ],
)
def test_refused(
    tmp_path: Path, shapes: dict[str, list[int]], config: dict[str, Any], words: str
) -> None:
    with pytest.raises(UsageError, match=words):
        kind(tmp_path, shapes, **config)
