"""InternVL: arithmetic, groups, the miniature and its files, seeded mistakes."""

from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
from family_paths import require_path
from hypothesis import given
from hypothesis import strategies as st

from mm_lora.checks.roles import pair
from mm_lora.core.asking import Picture
from mm_lora.core.errors import UsageError
from mm_lora.families import registry
from mm_lora.families.internvl import miniature
from mm_lora.families.internvl.layout import Layout, layout_of
from mm_lora.families.models import resolve
from mm_lora.families.modules import CONNECTOR, LANGUAGE, TOWER
from mm_lora.inside.families import internvl as patches
from mm_lora.run.plan import family_flags

FAMILY = registry.family("internvl")
LAYOUTS = {name: resolve(name).layout for name in FAMILY.published}
PUBLISHED = LAYOUTS["internvl"]
sides = st.integers(1, 12_000)
limits = st.integers(1, 14).flatmap(lambda most: st.tuples(st.integers(1, most), st.just(most)))


def layout(**changes: Any) -> Layout:
    return Layout(**{"image_size": 448, "patch_size": 14, "downsample_ratio": 0.5, **changes})


@pytest.mark.parametrize("model", FAMILY.published)
@pytest.mark.parametrize(
    ("size", "rows", "columns", "tiles"),
    [
        # By transformers 5.19's processor, whose prompts have 256 tokens a tile and two markers.
        ((336, 336), 1, 1, 1),
        ((400, 200), 1, 2, 3),
        ((450, 300), 2, 3, 7),
        ((400, 300), 3, 4, 13),
        ((1000, 3), 1, 12, 13),
        ((3, 1000), 12, 1, 13),
        # A square of more than half of four tiles' pixels, of nine tiles' pixels.
        ((633, 633), 1, 1, 1),
        ((634, 634), 2, 2, 5),
        ((1344, 1344), 3, 3, 10),
        # 7:4 is as near to 2:1 as to 3:2, 11:2 to 5:1 as to 6:1.
        ((700, 400), 1, 2, 3),
        ((550, 100), 1, 5, 6),
        ((4928, 896), 1, 6, 7),
    ],
)
def test_known_pictures(
    model: str, size: tuple[int, int], rows: int, columns: int, tiles: int
) -> None:
    flow = FAMILY.flow(LAYOUTS[model], Picture(width=size[0], height=size[1]))
    assert (flow.details["tile_rows"], flow.details["tile_columns"]) == (rows, columns)
    assert flow.units == tiles
    assert flow.rows == {"encoder": tiles * 1025, "connector": tiles * 256}
    assert (flow.tokens, flow.prompt_tokens) == (tiles * 256, tiles * 256 + 2)


@pytest.mark.parametrize("known_flow", FAMILY.known_flows)
def test_what_others_state(known_flow: Any) -> None:
    picture = Picture(width=known_flow.width, height=known_flow.height)
    said = FAMILY.flow(LAYOUTS[known_flow.model], picture).as_json()
    assert said[known_flow.quantity] == known_flow.value


@given(limits, st.booleans(), sides, sides)
def test_any_picture(least_most: tuple[int, int], thumbnail: bool, width: int, height: int) -> None:
    least, most = least_most
    numbers = layout(min_tiles=least, max_tiles=most, thumbnail=thumbnail)
    rows, columns = numbers.tiling(width, height)
    assert least <= rows * columns <= most
    distance = abs(width / height - columns / rows)
    grids = [
        (r, c) for r in range(1, most + 1) for c in range(1, most + 1) if least <= r * c <= most
    ]
    assert distance == min(abs(width / height - c / r) for r, c in grids)
    # A larger grid than the smallest of its shape has less than twice the picture's pixels.
    smallest = min(r * c for r, c in grids if abs(width / height - c / r) == distance)
    if rows * columns > smallest:
        assert rows * columns * 448**2 < 2 * width * height
    tiles = numbers.tiles(width, height)
    assert tiles == rows * columns + (thumbnail and rows * columns > 1)
    assert tiles <= numbers.most_tiles


@given(st.sampled_from(list(LAYOUTS.values())), sides, sides, st.integers(1, 8))
def test_a_larger_picture_of_one_shape_has_no_fewer_tiles(
    numbers: Layout, width: int, height: int, times: int
) -> None:
    flow = FAMILY.flow(numbers, Picture(width=width, height=height))
    larger = FAMILY.flow(numbers, Picture(width=width * times, height=height * times))
    assert larger.tokens >= flow.tokens
    assert flow.rows["encoder"] == flow.tokens * 4 + flow.units


def test_a_picture_that_is_not_cut() -> None:
    config = {**resolve("internvl").config, "dynamic_image_size": False}
    flow = FAMILY.flow(layout_of(config), Picture(width=4000, height=3))
    assert (flow.units, flow.tokens, flow.prompt_tokens) == (1, 256, 258)


@pytest.mark.parametrize(
    "wrong",
    [
        {"patch_size": 0},
        {"patch_size": 500},
        {"downsample_ratio": 0.4},
        {"downsample_ratio": 2},
        {"downsample_ratio": 1 / 3},
        {"min_tiles": 7, "max_tiles": 6},
        {"max_tiles": True},
    ],
)
def test_impossible_layouts(wrong: dict[str, Any]) -> None:
    with pytest.raises(UsageError):
        layout(**wrong)


@pytest.mark.parametrize(
    "changes",
    [
        {"vision_config": None},
        {"force_image_size": 336},
    ],
)
def test_impossible_configs(changes: dict[str, Any]) -> None:
    with pytest.raises(UsageError):
        layout_of({**resolve("internvl").config, **changes})


@pytest.mark.parametrize(
    "changes",
    [
        {"llm_config": {"model_type": "internlm2"}},
        {"llm_config": {"model_type": "qwen2", "tie_word_embeddings": True}},
        {"llm_config": None},
        {"ps_version": "v1"},
        {"select_layer": -2},
    ],
)
def test_what_transformers_cannot_compute(changes: dict[str, Any]) -> None:
    with pytest.raises(UsageError):
        FAMILY.miniature({**resolve("internvl").config, **changes}, PUBLISHED)


@pytest.mark.parametrize("name", FAMILY.published)
def test_the_miniature_keeps_what_is_published(name: str) -> None:
    model = resolve(name)
    small = FAMILY.miniature(model.config, model.layout)
    assert layout_of(small) == model.layout
    for key in ("norm_type", "qk_normalization", "qkv_bias", "layer_norm_eps"):
        assert small["vision_config"][key] == model.config["vision_config"][key]
    assert small["llm_config"]["rope_scaling"] == model.config["llm_config"]["rope_scaling"]
    assert model.config["vision_config"]["hidden_size"] >= 1024  # the published one is untouched
    ids = miniature.vocabulary.vocabulary(FAMILY.special_tokens)
    assert small["llm_config"]["vocab_size"] == len(ids)
    assert small["llm_config"]["eos_token_id"] == ids["<|im_end|>"]
    assert "<image>" not in ids  # a text, which vLLM looks for


def test_the_config_class_lies_beside_the_checkpoint() -> None:
    files = FAMILY.side_files(PUBLISHED)
    module, _, name = FAMILY.miniature(resolve("internvl").config, PUBLISHED)["auto_map"][
        "AutoConfig"
    ].partition(".")
    source = files[f"{module}.py"]
    assert f"class {name}(" in source
    assert "mm_lora" not in source
    assert ("trust-remote-code", True) in family_flags(FAMILY)


def test_at_least_14_sizes_and_several_pictures_are_asked() -> None:
    for numbers in LAYOUTS.values():
        questions = FAMILY.questions(numbers)
        assert len({prompt[0].seen_size for prompt in questions if len(prompt) == 1}) >= 14
        assert max(map(len, questions)) == FAMILY.limits["image"]


def test_small_pictures_are_of_one_tile() -> None:
    for width, height in FAMILY.sizes.small:
        assert PUBLISHED.tiles(width, height) == 1


@pytest.mark.parametrize(
    ("path", "group", "layer"),
    [
        ("vision_model.encoder.layers.23.attn.qkv", "tower-attention", "qkv"),
        ("vision_model.encoder.layers.0.attn.proj", "tower-attention", "proj"),
        ("vision_model.encoder.layers.1.mlp.fc2", "tower-mlp", "fc2"),
        ("mlp1.1", "connector", "1"),
        ("mlp1.3", "connector", "3"),
        ("language_model.model.layers.3.mlp.up_proj", "language-model", "gate_up_proj"),
        ("language_model.model.layers.3.self_attn.k_proj", "language-model", "qkv_proj"),
    ],
)
def test_groups_and_names(path: str, group: str, layer: str) -> None:
    require_path(FAMILY, path, group, f"{path.rpartition('.')[0]}.{layer}")


def test_what_takes_no_adapter() -> None:
    for path in ("vision_model.embeddings.patch_embedding", "mlp1.0", "language_model.lm_head"):
        assert FAMILY.group_of(path) is None
    assert FAMILY.role_of_path("language_model.model.embed_tokens") == LANGUAGE


def test_a_pair_of_every_role_differs() -> None:
    for role in (TOWER, CONNECTOR, LANGUAGE):
        one, other = pair(FAMILY, role)
        assert one != other


def test_mistakes() -> None:
    class InternVLChatModel:
        patch_tokens, num_image_token = 1024, 256

        def get_mm_lora_token_counts(self, *, num_mm_embeds: int) -> tuple[int, int]:
            return num_mm_embeds // 256 * 1025, num_mm_embeds

        def get_mm_mapping(self) -> Any:
            return SimpleNamespace(connector=["mlp1"], tower_model=["vision_model"])

    answers = {}
    for patch in patches.PATCHES:
        if patch.kind != "mutant":
            continue
        module = ModuleType("counts")
        names = ("get_mm_lora_token_counts", "get_mm_mapping")
        copy = type(
            "InternVLChatModel",
            (InternVLChatModel,),
            {name: getattr(InternVLChatModel, name) for name in names},
        )
        module.InternVLChatModel = copy  # type: ignore[attr-defined]
        patch.apply(module)
        said = copy().get_mm_mapping()
        answers[patch.id.removeprefix("mutant-internvl-")] = (
            copy().get_mm_lora_token_counts(num_mm_embeds=1792),
            said.connector,
        )
    assert answers == {
        "class-token-forgotten": ((7168, 1792), ["mlp1"]),
        "connector-as-tower": ((7175, 7175), ["mlp1"]),
        "shuffle-not-squared": ((7175, 3584), ["mlp1"]),
        "connector-under-tower": ((7175, 1792), []),
    }


def test_what_the_hook_reads() -> None:
    vision = SimpleNamespace(image_size=448, patch_size=14)
    config = SimpleNamespace(vision_config=vision, downsample_ratio=0.5)
    assert patches.PREPARE["InternVLChatModel"](config) == {
        "patch_tokens": 1024,
        "num_image_token": 256,
    }


def test_only_the_linear_layers_of_the_connector_are_replaced(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Linear:
        in_features, out_features, bias = 256, 128, None
        weight = SimpleNamespace(dtype="fp32")

    made: list[tuple[Any, ...]] = []

    def replicated(*sizes: int, **settings: Any) -> str:
        made.append((*sizes, settings))
        return "of vLLM"

    monkeypatch.setattr(
        patches.lora_linear.importlib,
        "import_module",
        lambda name: SimpleNamespace(ReplicatedLinear=replicated),
    )
    module = ModuleType("model")
    module.ReplicatedLinear = replicated  # type: ignore[attr-defined]

    class InternVLChatModel:
        def _init_mlp1(self, config: Any) -> list[Any]:
            return ["norm", Linear(), "gelu", Linear()]

    module.InternVLChatModel = InternVLChatModel  # type: ignore[attr-defined]
    patches.FIX.apply(module)
    assert InternVLChatModel()._init_mlp1(None) == ["norm", "of vLLM", "gelu", "of vLLM"]
    settings = {"bias": False, "params_dtype": "fp32", "return_bias": False}
    assert made == [(256, 128, settings)] * 2
