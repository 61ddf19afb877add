"""LLaVA's families: arithmetic, groups, names in files and in vLLM, fixes and seeded miscounts."""

import dataclasses
import json
import re
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
from family_paths import require_path
from hypothesis import assume, given
from hypothesis import strategies as st

from mm_lora.adapters.peft_variants import NEWEST_NAMES, peft_variants
from mm_lora.checks.mismatch import Mismatch
from mm_lora.core.asking import Picture
from mm_lora.core.errors import UsageError
from mm_lora.families import registry
from mm_lora.families.family import Family
from mm_lora.families.llava.family import WITHOUT_CLS
from mm_lora.families.llava.layout import Layout, layout_of
from mm_lora.families.llava.miniature import layers_run
from mm_lora.families.llava.torch_side import SIDE
from mm_lora.families.llava_pixtral.torch_side import SIDE as PIXTRAL_SIDE
from mm_lora.families.llava_siglip.torch_side import SIDE as SIGLIP_SIDE
from mm_lora.families.models import resolve
from mm_lora.families.modules import from_glob
from mm_lora.inside.families.llava import hooks

NAMES = ("llava", "llava-siglip", "llava-pixtral")
FAMILIES = {name: registry.family(name) for name in NAMES}
LAYOUTS: dict[str, Layout] = {name: resolve(name).layout for name in NAMES}
each = pytest.mark.parametrize("name", NAMES)
sides = st.integers(1, 12_000)


@pytest.mark.parametrize(
    ("model", "size", "grid", "encoder", "connector", "prompt"),
    [
        # By transformers 5.19; the encoder's rows are those of the published position embeddings.
        ("llava", (336, 336), (24, 24), 577, 576, 576),
        ("llava", (5000, 3001), (24, 24), 577, 576, 576),
        ("llava-siglip", (1, 1), (27, 27), 729, 729, 729),
        ("llava-siglip", (700, 400), (27, 27), 729, 729, 729),
        ("llava-pixtral", (336, 336), (21, 21), 441, 441, 462),
        ("llava-pixtral", (300, 400), (25, 19), 475, 475, 500),
        ("llava-pixtral", (700, 400), (25, 44), 1100, 1100, 1125),
        ("llava-pixtral", (1024, 1024), (64, 64), 4096, 4096, 4160),
        ("llava-pixtral", (1025, 80), (5, 64), 320, 320, 325),
        ("llava-pixtral", (3073, 2049), (43, 64), 2752, 2752, 2795),
    ],
)
def test_known_pictures(
    model: str,
    size: tuple[int, int],
    grid: tuple[int, int],
    encoder: int,
    connector: int,
    prompt: int,
) -> None:
    flow = FAMILIES[model].flow(LAYOUTS[model], Picture(width=size[0], height=size[1]))
    assert (flow.details["grid_height"], flow.details["grid_width"]) == grid
    assert (flow.rows["encoder"], flow.rows["connector"]) == (encoder, connector)
    assert (flow.tokens, flow.prompt_tokens) == (connector, prompt)


@given(st.sampled_from(["llava", "llava-siglip"]), sides, sides)
def test_any_square(model: str, width: int, height: int) -> None:
    layout = LAYOUTS[model]
    flow = FAMILIES[model].flow(layout, Picture(width=width, height=height))
    patches = (layout.image_size // layout.patch_size) ** 2
    assert flow.tokens == flow.rows["connector"] == flow.prompt_tokens == patches
    assert flow.rows["encoder"] - flow.rows["connector"] == (model == "llava")


@given(sides, sides)
def test_any_free_picture(width: int, height: int) -> None:
    assume(max(width, height) < 1000 * min(width, height))
    family, layout = FAMILIES["llava-pixtral"], LAYOUTS["llava-pixtral"]
    flow = family.flow(layout, Picture(width=width, height=height))
    rows, columns = flow.details["grid_height"], flow.details["grid_width"]
    assert max(rows, columns) <= layout.image_size // layout.patch_size
    assert flow.tokens == flow.rows["encoder"] == flow.rows["connector"] == rows * columns
    assert flow.prompt_tokens == flow.tokens + rows
    turned = family.flow(layout, Picture(width=height, height=width))
    assert (turned.details["grid_height"], turned.details["grid_width"]) == (columns, rows)
    # Patches cover the picture that is left, and none is without it; a pixel may go in shrinking.
    shrunk = min(1.0, layout.image_size / max(width, height))
    for side, count in ((height, rows), (width, columns)):
        assert (count - 1) * layout.patch_size < side * shrunk
        assert side * shrunk < count * layout.patch_size + 1


def test_a_picture_that_is_too_thin() -> None:
    with pytest.raises(UsageError, match="too thin"):
        LAYOUTS["llava-pixtral"].grid(5000, 1)


def test_what_the_strategy_leaves() -> None:
    whole = Layout(image_size=336, patch_size=14, class_token=True)
    assert (whole.encoder_rows((24, 24)), whole.connector_rows((24, 24))) == (577, 577)
    cut = Layout(image_size=384, patch_size=14, drops_first=True)
    assert (cut.encoder_rows((27, 27)), cut.connector_rows((27, 27))) == (729, 728)


@pytest.mark.parametrize(
    "wrong",
    [
        {"patch_size": 0},
        {"patch_size": 400},
        {"image_size": 384, "class_token": True},
        {"free": True, "drops_first": True},
        {"image_size": True},
    ],
)
def test_impossible_layouts(wrong: dict[str, Any]) -> None:
    with pytest.raises(UsageError):
        Layout(**{"image_size": 336, "patch_size": 14, **wrong})


@pytest.mark.parametrize(
    "config",
    [
        {},
        {"vision_config": {"model_type": "siglip_vision_model"}},
        {"vision_config": {}, "vision_feature_select_strategy": "class"},
    ],
)
def test_configs_that_are_not_understood(config: dict[str, Any]) -> None:
    with pytest.raises(UsageError):
        layout_of(config, "clip_vision_model", {"image_size": 224, "patch_size": 32})


@pytest.mark.parametrize(
    ("settings", "fits"),
    [
        ({"crop_size": {"height": 336, "width": 336}, "size": {"shortest_edge": 224}}, True),
        ({"crop_size": 336}, True),
        ({"image_processor": {"size": {"height": 336, "width": 336}}}, True),
        ({"size": {"longest_edge": 448}}, False),
        ({}, True),
    ],
)
def test_the_processors_size_must_be_the_towers(
    tmp_path: Path, settings: dict[str, Any], fits: bool
) -> None:
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(settings), encoding="utf-8")
    config = resolve("llava").config
    if fits:
        assert FAMILIES["llava"].layout(config, tmp_path) == LAYOUTS["llava"]
        return
    with pytest.raises(UsageError, match="448"):
        FAMILIES["llava"].layout(config, tmp_path)


def test_the_tower_decides_the_family() -> None:
    for name, family in FAMILIES.items():
        config = resolve(name).config
        assert config["model_type"] == "llava"
        assert registry.family_of(config) is family
    assert registry.family_of({"model_type": "llava"}) is FAMILIES["llava"]


@pytest.mark.parametrize(
    ("feature", "layers", "run"), [(-1, 24, 24), (-2, 24, 23), (3, 24, 3), (24, 24, 24)]
)
def test_layers_that_run(feature: int, layers: int, run: int) -> None:
    assert layers_run(feature, layers) == run


@pytest.mark.parametrize("feature", [0, 25, -25, [-2, -1], None])
def test_feature_layers_that_there_are_not(feature: Any) -> None:
    with pytest.raises(UsageError):
        layers_run(feature, 24)


@each
def test_miniatures_run_two_layers(name: str) -> None:
    model = resolve(name)
    config = model.family.miniature(model.config, model.layout)
    vision, published = config["vision_config"], model.config["vision_config"]
    assert layers_run(config["vision_feature_layer"], vision["num_hidden_layers"]) == 2
    assert config["vision_feature_layer"] == model.config["vision_feature_layer"]
    kept = ("image_size", "patch_size", "model_type", "hidden_act")
    assert {key: vision[key] for key in kept} == {key: published[key] for key in kept}
    assert model.family.layout(json.loads(json.dumps(config)), None) == model.layout


@each
def test_at_least_14_sizes_and_several_pictures_are_asked(name: str) -> None:
    questions = FAMILIES[name].questions(LAYOUTS[name])
    assert len({prompt[0].seen_size for prompt in questions if len(prompt) == 1}) >= 14
    assert max(map(len, questions)) == FAMILIES[name].limits["image"]


@pytest.mark.parametrize(
    ("name", "path", "group", "layer"),
    [
        (
            "llava",
            "model.vision_tower.encoder.layers.22.self_attn.k_proj",
            "tower-attention",
            "vision_tower.vision_model.encoder.layers.22.self_attn.qkv_proj",
        ),
        (
            "llava-siglip",
            "model.vision_tower.encoder.layers.1.mlp.fc2",
            "tower-mlp",
            "vision_tower.vision_model.encoder.layers.1.mlp.fc2",
        ),
        (
            "llava-pixtral",
            "model.vision_tower.transformer.layers.1.feed_forward.up_proj",
            "tower-mlp",
            "vision_tower.transformer.layers.1.feed_forward.gate_up_proj",
        ),
        (
            "llava-pixtral",
            "model.vision_tower.transformer.layers.1.attention.o_proj",
            "tower-attention",
            "vision_tower.transformer.layers.1.attention.o_proj",
        ),
        (
            "llava",
            "model.multi_modal_projector.linear_2",
            "projector",
            "multi_modal_projector.linear_2",
        ),
        (
            "llava-siglip",
            "model.language_model.layers.3.self_attn.o_proj",
            "language-model",
            "language_model.model.layers.3.self_attn.o_proj",
        ),
    ],
)
def test_groups_and_names(name: str, path: str, group: str, layer: str) -> None:
    require_path(FAMILIES[name], path, group, layer)


def test_what_takes_no_adapter() -> None:
    for family in FAMILIES.values():
        for activation in (
            "encoder.layers.0.mlp.activation_fn",
            "transformer.layers.0.feed_forward.act_fn",
        ):
            path = f"model.vision_tower.{activation}"
            assert not any(re.fullmatch(from_glob(g.target), path) for g in family.groups.values())
        assert family.group_of("model.vision_tower.embeddings.patch_embedding") is None
        assert family.group_of("model.vision_tower.patch_conv") is None
        assert family.group_of("lm_head") is None


@pytest.mark.parametrize("side", [SIDE, SIGLIP_SIDE])
def test_names_in_files_have_one_level_more(side: Any) -> None:
    own = "model.vision_tower.encoder.layers.0.self_attn.q_proj"
    file = "model.vision_tower.vision_model.encoder.layers.0.self_attn.q_proj"
    assert side.saved_names(own) == side.saved_names(file) == file
    assert side.own_names(own) == side.own_names(file) == own
    assert side.family.to_vllm(own) == side.family.to_vllm(file)
    assert side.family.group_of(own) == side.family.group_of(file)
    assert side.saved_names("model.multi_modal_projector.linear_1") == (
        "model.multi_modal_projector.linear_1"
    )


def test_names_of_the_third_tower_are_the_same_everywhere() -> None:
    name = "model.vision_tower.transformer.layers.0.attention.q_proj"
    assert PIXTRAL_SIDE.saved_names(name) == PIXTRAL_SIDE.own_names(name) == name
    assert NEWEST_NAMES not in peft_variants(FAMILIES["llava-pixtral"])
    assert peft_variants(FAMILIES["llava"])[NEWEST_NAMES].form == "own-names"


@pytest.mark.parametrize(
    ("found", "explained"),
    [
        ([], False),
        ([Mismatch("llava 576 placeholders", "tower rows", 577, 576)], True),
        ([Mismatch("llava 1152 placeholders", "tower rows", 1154, 1152)], True),
        ([Mismatch("llava 576 placeholders", "tower rows", 577, 575)], False),
        ([Mismatch("llava 576 placeholders", "connector rows", 577, 576)], False),
        (
            [
                Mismatch("step 1 encoder vision_tower.x.fc1", "rows mapped", 1731, 1728),
                Mismatch("step 1 encoder vision_tower.x.fc1", "adapter of each row", "a", "b"),
            ],
            True,
        ),
        ([Mismatch("step 1 encoder multi_modal_projector.x", "rows mapped", 577, 576)], False),
        ([Mismatch("step 1 encoder vision_tower.x.fc1", "rows that it saw", 577, 576)], False),
    ],
)
def test_only_the_lost_class_token_is_predicted(found: list[Mismatch], explained: bool) -> None:
    expected = (WITHOUT_CLS,) if explained else ()
    assert FAMILIES["llava"].predicted_rows(LAYOUTS["llava"], found) == expected


def owner(name: str, answer: tuple[int, int]) -> Any:
    """A stand-in for the class in vLLM, with the published config; its hook gives `answer`."""
    config = resolve(name).config
    strategy = config["vision_feature_select_strategy"]
    vision = SimpleNamespace(**config["vision_config"])

    @dataclasses.dataclass
    class Mapper:
        orig_to_new_prefix: dict[str, str]

    class LlavaForConditionalGeneration:
        hf_to_vllm_mapper = Mapper({"model.vision_tower.": "vision_tower."})

        def __init__(self) -> None:
            self.config = SimpleNamespace(
                vision_config=vision, vision_feature_select_strategy=strategy
            )

        def get_mm_lora_token_counts(self, **given: Any) -> tuple[int, int]:
            return answer

        def get_mm_mapping(self) -> Any:
            return SimpleNamespace(tower_model=["tower"], connector=["projector"])

    return LlavaForConditionalGeneration


def patched(patch_id: str, name: str, tokens: int) -> Any:
    (patch,) = (one for one in hooks.PATCHES if one.id == patch_id)
    module = ModuleType("llava")
    module.LlavaForConditionalGeneration = owner(  # type: ignore[attr-defined]
        name, (tokens, tokens)
    )
    patch.apply(module)
    return module.LlavaForConditionalGeneration


@pytest.mark.parametrize(
    ("patch", "name", "tokens", "rows"),
    [
        ("llava-class-token-rows", "llava", 576, (577, 576)),
        ("llava-class-token-rows", "llava", 1152, (1154, 1152)),
        ("llava-class-token-rows", "llava", 600, (602, 600)),
        ("llava-class-token-rows", "llava", 0, (0, 0)),
        ("llava-class-token-rows", "llava-siglip", 729, (729, 729)),
        ("llava-class-token-rows", "llava-pixtral", 441, (441, 441)),
        ("mutant-llava-class-token-forgotten", "llava", 576, (576, 576)),
        ("mutant-llava-class-token-everywhere", "llava", 576, (577, 577)),
        ("mutant-llava-class-token-everywhere", "llava-siglip", 729, (730, 730)),
        ("mutant-llava-class-token-everywhere", "llava-pixtral", 441, (442, 442)),
    ],
)
def test_the_hooks_fix_and_its_miscounts(
    patch: str, name: str, tokens: int, rows: tuple[int, int]
) -> None:
    model = patched(patch, name, tokens)()
    assert model.get_mm_lora_token_counts(num_mm_embeds=tokens) == rows


@each
def test_the_fixed_hook_is_what_the_arithmetic_says(name: str) -> None:
    family: Family = FAMILIES[name]
    for case in family.hook_cases(LAYOUTS[name]):
        if case.has_answer:
            model = patched("llava-class-token-rows", name, case.tokens)()
            rows = model.get_mm_lora_token_counts(num_mm_embeds=case.tokens)
            assert rows == (case.tower, case.connector), case


def test_the_other_names_come_before_the_towers_own() -> None:
    model = patched("llava-tower-names", "llava", 576)
    assert list(model.hf_to_vllm_mapper.orig_to_new_prefix.items()) == [
        ("model.vision_tower.encoder.", "vision_tower.vision_model.encoder."),
        ("model.vision_tower.", "vision_tower."),
    ]


def test_a_projector_under_the_tower() -> None:
    mapping = patched("mutant-llava-projector-under-tower", "llava", 576)().get_mm_mapping()
    assert (mapping.tower_model, mapping.connector) == (["tower", "projector"], [])
