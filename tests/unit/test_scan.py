"""The static scan over small model sources: what it finds, leaves, and cannot decide."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from interpreters import interpreter
from scan_sample import HOOK, MAPPING, write

from mm_lora.cli.commands import families
from mm_lora.report import scan_lines
from mm_lora.serving.scan import Kind, Scan, scan
from mm_lora.serving.scan.findings import shared

BASES = "(nn.Module, SupportsLoRA, SupportsMultiModal)"
PACKED = '    packed_modules_mapping = {"qkv_proj": ["q_proj", "k_proj", "v_proj"]}\n'
INIT = """
    def __init__(self):
        super().__init__()
        with self._mark_tower_model():
            self.visual = Tower()
        self.language_model = Text()
"""
MADE = """
    def get_mm_mapping(self): return self.made()
"""
TOWER = """
class Block(nn.Module):
    def __init__(self, qkv=QKVParallelLinear):
        super().__init__()
        self.qkv_proj = qkv(1, 1)
        self.proj = RowParallelLinear(1, 1)
        self.norm = nn.LayerNorm(1)
class Merger(nn.Module):
    def __init__(self):
        super().__init__()
        self.mlp = nn.Sequential(ColumnParallelLinear(1, 1), nn.GELU(), RowParallelLinear(1, 1))
class Tower(nn.Module):
    def __init__(self):
        super().__init__()
        self.blocks = nn.ModuleList([Block() for _ in range(2)])
        self.merger = Merger()
"""


def model(
    *,
    bases: str = BASES,
    packed: str = PACKED,
    hook: str = HOOK,
    mapping: str = MAPPING,
    init: str = INIT,
    tower: str = TOWER,
) -> str:
    return f"{tower}\nclass M{bases}:\n{packed}{hook}{mapping}{init}"


def found(folder: Path, text: str, manager: str = "") -> dict[tuple[str, str], str]:
    """(kind, path) → what a user would notice."""
    result = scan(write(folder, text, manager=manager))
    assert result.classes == ("M",)
    return {(str(one.kind), one.path): one.notice for one in result.findings}


def test_a_class_that_is_right_has_no_finding(tmp_path: Path) -> None:
    result = scan(write(tmp_path, model()))
    assert (result.findings, result.without) == ((), "")
    assert result.layers == 4  # qkv_proj and proj of a block, two layers of the merger


def test_a_fused_layer_without_entry_is_ignored(tmp_path: Path) -> None:
    text = model(tower=TOWER.replace("self.qkv_proj", "self.qkv"))
    assert found(tmp_path, text) == {
        (Kind.FUSED, "visual.blocks.*.qkv"): "an adapter for this layer is accepted and ignored"
    }


def test_an_entry_with_one_name_too_few_fits_no_lora_layer(tmp_path: Path) -> None:
    text = model(packed=PACKED.replace(', "v_proj"', ""))
    assert (Kind.FUSED, "visual.blocks.*.qkv_proj") in found(tmp_path, text)


def test_the_entry_of_a_child_counts_where_the_class_has_none(tmp_path: Path) -> None:
    assert found(tmp_path, model(packed="")) == {}


def test_an_entry_may_come_from_the_language_model_of_a_config(tmp_path: Path) -> None:
    text = model(packed="", init=INIT.replace("Text()", "init_vllm_registered_model()"))
    assert list(found(tmp_path, text)) == [(Kind.UNKNOWN, "visual.blocks.*.qkv_proj")]


def test_a_language_model_is_found_by_its_architecture(tmp_path: Path) -> None:
    made = 'init_vllm_registered_model(architectures=["TextForIt"])'
    assert found(tmp_path, model(packed="", init=INIT.replace("Text()", made))) == {}


@pytest.mark.parametrize(
    ("name", "notice"),
    [
        ("proj", "an adapter for this layer is accepted and ignored"),
        ("fc", "an adapter with this layer is refused: 'fc' is no expected target module"),
    ],
)
def test_a_plain_connector_is_ignored_or_refused_by_its_name(
    tmp_path: Path, name: str, notice: str
) -> None:
    merger = f"self.{name} = nn.Linear(1, 1)"
    old = "self.mlp = nn.Sequential(ColumnParallelLinear(1, 1), nn.GELU(), RowParallelLinear(1, 1))"
    got = found(tmp_path, model(tower=TOWER.replace(old, merger)))
    assert got == {(Kind.PLAIN, f"visual.merger.{name}"): notice}


def test_a_refusal_is_not_certain_where_the_language_model_is_not_known(tmp_path: Path) -> None:
    tower = TOWER.replace("self.merger = Merger()", "self.merger = nn.Linear(1, 1)")
    init = INIT.replace("Text()", "init_vllm_registered_model()")
    got = found(tmp_path, model(tower=tower, init=init))
    assert "or accepted and ignored where" in got[(Kind.PLAIN, "visual.merger")]


def test_convolutions_and_odd_classes_have_no_lora_layer(tmp_path: Path) -> None:
    tower = TOWER.replace(
        "self.merger",
        "self.conv = Conv2dLayer()\n        self.odd = OddLinear()\n        self.merger",
    )
    assert list(found(tmp_path, model(tower=tower))) == [
        (Kind.CONVOLUTION, "visual.conv"),
        (Kind.NO_WRAPPER, "visual.odd"),
    ]


def test_a_replicated_layer_takes_one_tensor(tmp_path: Path) -> None:
    tower = TOWER.replace(
        "self.qkv_proj = qkv(1, 1)",
        "self.qkv_proj = qkv(1, 1) if cfg.tp else ReplicatedLinear(1, 1)",
    )
    got = found(tmp_path, model(tower=tower))
    assert list(got) == [(Kind.SINGLE, "visual.blocks.*.qkv_proj")]
    assert "AssertionError" in got[(Kind.SINGLE, "visual.blocks.*.qkv_proj")]
    assert found(tmp_path, model(tower=TOWER.replace("= Merger()", "= ReplicatedLinear()"))) == {}


def test_prefixes_that_no_module_has_and_layers_without_one(tmp_path: Path) -> None:
    mapping = MAPPING.replace("visual.merger", "projector")
    init = INIT + "        self.proj_in = ColumnParallelLinear(1, 1)\n"
    assert list(found(tmp_path, model(mapping=mapping, init=init))) == [
        (Kind.PREFIX, "projector"),
        (Kind.UNCOVERED, "proj_in"),
    ]


def test_a_connector_that_is_not_counted_is_left_out(tmp_path: Path) -> None:
    mapping = MAPPING.replace("visual.merger", "projector")
    init = INIT + "        self.projector = ColumnParallelLinear(1, 1)\n"
    hook = HOOK.replace("return 1, 1", "return 1, None")
    assert list(found(tmp_path, model(mapping=mapping, init=init))) == []
    assert list(found(tmp_path, model(mapping=mapping, init=init, hook=hook))) == [
        (Kind.UNCOVERED, "projector")
    ]


def test_what_is_made_at_run_time_is_unknown_by_name(tmp_path: Path) -> None:
    theirs = INIT.replace("Tower()", "AutoModel.from_config(config)")
    assert list(found(tmp_path, model(init=theirs))) == [(Kind.UNKNOWN, "visual")]
    chosen = INIT.replace("Tower()", "cls()").replace("(self)", "(self, cls)")
    assert list(found(tmp_path, model(init=chosen))) == [(Kind.UNKNOWN, "visual")]


def test_layers_by_a_function_a_partial_and_a_loop(tmp_path: Path) -> None:
    tower = TOWER.replace(
        "nn.ModuleList([Block() for _ in range(2)])",
        "make_layers(2, lambda prefix: Block(), '')[2]",
    ).replace(
        "self.merger = Merger()",
        "self.merger = nn.ModuleList()\n        for _ in range(2):\n"
        "            self.merger.append(nn.Linear(1, 1))",
    )
    assert list(found(tmp_path, model(tower=tower))) == [(Kind.PLAIN, "visual.merger.*")]


def test_an_attribute_that_a_subclass_replaces(tmp_path: Path) -> None:
    tower = TOWER + (
        "class Old(nn.Module):\n    def __init__(self):\n        super().__init__()\n"
        "        self.visual = nn.Linear(1, 1)\n"
    )
    text = model(tower=tower, bases="(Old, SupportsLoRA, SupportsMultiModal)")
    assert found(tmp_path, text) == {}


@pytest.mark.parametrize(
    ("changed", "kind", "notice"),
    [
        ({"hook": HOOK.replace("True", "False")}, Kind.FLAG, "vLLM warns"),
        ({"hook": ""}, Kind.NO_HOOK, "vLLM warns"),
        ({"hook": "    supports_tower_connector_lora = True\n"}, Kind.NO_HOOK, "does not start"),
        ({"bases": "(nn.Module, SupportsMultiModal)"}, Kind.NO_LORA, "does not start"),
        ({"mapping": ""}, Kind.NO_HOOK, "the language model's rows"),
        ({"mapping": MADE}, Kind.UNKNOWN, "cannot be read"),
    ],
)
def test_what_a_class_as_a_whole_lacks(
    tmp_path: Path, changed: dict[str, str], kind: Kind, notice: str
) -> None:
    got = found(tmp_path, model(**changed))
    assert list(got) == [(kind, "")]
    assert notice in got[(kind, "")]


def test_the_older_pair_of_hooks(tmp_path: Path) -> None:
    manager = "hasattr(self.model, 'get_num_mm_encoder_tokens')"
    pair = "    def get_num_mm_encoder_tokens(self, n): return n\n"
    both = pair + pair.replace("encoder", "connector")
    assert found(tmp_path, model(hook=both), manager) == {}
    got = found(tmp_path, model(hook=""), manager)
    assert "does not start" in got[(Kind.NO_HOOK, "")]


def test_a_vllm_without_the_feature_says_why(tmp_path: Path) -> None:
    result = scan(write(tmp_path, model(), manager="nothing"))
    assert result.classes == ()
    assert "asks no model" in result.without
    assert "not scanned" in scan_lines.summary(result)
    assert scan(tmp_path / "nowhere").without


def test_the_document_and_the_lines(tmp_path: Path) -> None:
    text = model(tower=TOWER.replace("self.qkv_proj", "self.qkv")) + "\nclass N(M): pass\n"
    folder = write(tmp_path, text)
    registry = folder / "model_executor/models/registry.py"
    registry.write_text('_M = {"MForIt": ("m", "M"), "NForIt": ("m", "N")}')
    result = scan(folder)
    document = json.loads(json.dumps(result.as_json()))
    assert document["counts"] == {"fused-without-entry": 2}
    first = document["findings"][0]
    assert (first["class"], first["file"]) == ("M", "model_executor/models/m.py")
    assert [one.classes for one in shared(result.findings)] == [("M", "N")]
    (line,) = scan_lines.lines(result)
    assert line.startswith(
        "- fused-without-entry: M, N: `visual.blocks.*.qkv`: an adapter for this"
    )
    assert scan_lines.summary(Scan()) == "0 classes, 0 layers: nothing found"


def test_the_families_document_has_the_scan_where_it_was_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    here = interpreter(folder=str(write(tmp_path, model(hook=HOOK.replace("True", "False")))))
    monkeypatch.setattr(families, "facts", lambda python: here)
    assert families.run(Path("python"), as_json=True, scan=True) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["scan"]["counts"] == {"flag-false": 1}
    assert [one["class"] for one in document["classes_without_family"]] == ["M"]
    families.run(Path("python"), as_json=True)
    assert "scan" not in json.loads(capsys.readouterr().out)
    families.run(Path("python"), as_json=False, scan=True)
    assert "1 classes, 0 layers: 1 flag-false" in capsys.readouterr().out
    monkeypatch.setattr(families, "facts", lambda python: replace(here, vllm=None))
    families.run(Path("python"), as_json=True, scan=True)
    assert "there is no vLLM" in json.loads(capsys.readouterr().out)["scan"]["without"]
