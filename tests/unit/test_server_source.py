"""What a vLLM has is read in its source, and a spec is made to fit it."""

from pathlib import Path

import pytest
from interpreters import interpreter

from mm_lora.core.skips import NotApplicable
from mm_lora.families import registry
from mm_lora.inside.target_modules import VARIABLE
from mm_lora.serving.served_vllm import ServedVllm
from mm_lora.serving.server.source import VllmSource
from mm_lora.serving.server.spec import ServerSpec

LLAMA4 = registry.family("llama4")
MODEL_FILE = f"model_executor/models/{LLAMA4.vllm.module}.py"
ARGUMENTS = """
        lora_group.add_argument("--enable-lora", **kwargs)
        parser.add_argument('--enable-prefix-caching')
"""
TARGETS = ("qkv_proj", "o_proj")
PAIR = """    def get_num_mm_encoder_tokens(self, n): ...
    def get_num_mm_connector_tokens(self, n): ...
"""


def source(folder: Path, hooks: str = "", arguments: str = ARGUMENTS) -> VllmSource:
    (folder / MODEL_FILE).parent.mkdir(parents=True, exist_ok=True)
    (folder / "engine").mkdir(exist_ok=True)
    (folder / "engine/arg_utils.py").write_text(arguments)
    (folder / MODEL_FILE).write_text(
        "class Before:\n    def get_mm_lora_token_counts(self): ...\n\n"
        f"class {LLAMA4.vllm.name}(\n    nn.Module,\n):\n"
        f"    def get_mm_mapping(self): ...\n{hooks}\n"
        "class After:\n    def get_mm_lora_token_counts(self): ...\n"
    )
    return VllmSource(folder)


def served(source: VllmSource, version: str = "0.17.0", **more: object) -> ServedVllm:
    facts = interpreter(vllm=version)
    values: dict[str, object] = {"lacks": {}, "features": {}} | more
    return ServedVllm(python=Path("p"), facts=facts, source=source, **values)  # type: ignore[arg-type]


def test_a_hook_may_be_inherited_from_another_model(tmp_path: Path) -> None:
    folder = tmp_path / "model_executor/models"
    folder.mkdir(parents=True)
    name = LLAMA4.vllm.name
    (folder / f"{LLAMA4.vllm.module}.py").write_text(
        f"from .other import Parent\nfrom .interfaces import Lora\nclass {name}(Parent, Lora): ..."
    )
    (folder / "other.py").write_text("class Parent(Parent2): ...\nclass Parent2:\n" + PAIR)
    (folder / "interfaces.py").write_text("class Lora:\n" + PAIR)
    assert not VllmSource(tmp_path).lacks_tower_lora(LLAMA4.vllm)
    (folder / "other.py").write_text("class Parent: ...")
    assert "defines neither" in VllmSource(tmp_path).lacks_tower_lora(LLAMA4.vllm)


@pytest.mark.parametrize(
    ("hooks", "missing"),
    [
        ("", True),
        (PAIR, False),
        (PAIR.splitlines()[0] + "\n", True),
        ("    def get_mm_lora_token_counts(\n        self): ...\n", False),
    ],
)
def test_only_hooks_of_the_class_itself_count(tmp_path: Path, hooks: str, missing: bool) -> None:
    assert bool(source(tmp_path, hooks).lacks_tower_lora(LLAMA4.vllm)) is missing


def test_flags_are_known_by_their_spelling(tmp_path: Path) -> None:
    asked = ["enable-lora", "no-enable-prefix-caching", "lora-target-modules"]
    assert source(tmp_path).lacks_flags(asked) == ("lora-target-modules",)


def test_where_nothing_can_be_read_nothing_is_left_out(tmp_path: Path) -> None:
    assert VllmSource(tmp_path / "nowhere").lacks_flags(["anything"]) == ()


def test_target_modules_become_the_compat_patchs_choice(tmp_path: Path) -> None:
    """With the profile's value, and with a check's own: the patch does what the flag does."""
    flags = (("enable-lora", None), ("lora-target-modules", TARGETS))
    fit = served(source(tmp_path)).fit(ServerSpec(model="scout", flags=flags), {}, LLAMA4)
    assert fit.flags == (("enable-lora", None),)
    assert dict(fit.env)[VARIABLE] == "qkv_proj o_proj"


def test_a_profiles_flag_is_left_out_and_a_checks_own_is_not(tmp_path: Path) -> None:
    spec = ServerSpec(model="scout", flags=(("new-flag", "1"),))
    vllm = served(source(tmp_path))
    assert vllm.fit(spec, {"new-flag": "1"}, LLAMA4).flags == ()
    with pytest.raises(NotApplicable, match=r"no-flag.*--new-flag, vLLM 0\.17\.0"):
        vllm.fit(spec, {"new-flag": "2"}, LLAMA4)


LACKS = {"llama4": "no hooks"}


def test_the_feature_patch_goes_in_where_it_was_settled(tmp_path: Path) -> None:
    vllm = served(source(tmp_path), lacks=LACKS, features={"llama4": "llama4-tower-lora"})
    fit = vllm.fit(ServerSpec(model="scout"), {}, LLAMA4)
    assert fit.patches == ("auto", "llama4-tower-lora")
    assert vllm.as_json()["feature_patch"] == "llama4-tower-lora"
    assert vllm.as_json()["lacks"] == "no hooks"
    assert "no hooks" in vllm.news()[0]


def test_a_family_that_stays_without_its_feature_is_skipped(tmp_path: Path) -> None:
    """And another family of the same run is served: it has what it needs."""
    vllm = served(source(tmp_path), lacks=LACKS)
    with pytest.raises(NotApplicable, match=r"no-feature.*no hooks"):
        vllm.fit(ServerSpec(model="scout"), {}, LLAMA4)
    vllm = served(source(tmp_path), lacks={"another": "no hooks"})
    assert vllm.fit(ServerSpec(model="scout"), {}, LLAMA4).patches == ("auto",)
