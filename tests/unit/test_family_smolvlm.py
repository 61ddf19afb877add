"""SmolVLM and Idefics3: arithmetic, groups, what vLLM calls the modules, seeded miscounts."""

from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
from family_paths import require_path
from hypothesis import given
from hypothesis import strategies as st

from mm_lora.adapters.sets import known, others_name
from mm_lora.checks.roles import pair
from mm_lora.core.asking import Picture
from mm_lora.core.errors import UsageError
from mm_lora.families import registry
from mm_lora.families.models import resolve
from mm_lora.families.modules import CONNECTOR, LANGUAGE, TOWER
from mm_lora.families.smolvlm.layout import Layout
from mm_lora.inside.families import smolvlm as mutants

FAMILY = registry.family("smolvlm")
LAYOUTS = {name: resolve(name).layout for name in FAMILY.published}
sides = st.integers(1, 12_000)


@pytest.mark.parametrize(
    ("model", "size", "rows", "columns", "encoder", "connector", "prompt"),
    [
        # Rows that the layers of a running vLLM 0.32.0 saw; prompts by transformers 5.19.
        ("smolvlm", (336, 84), 1, 4, 3645, 405, 418),
        ("smolvlm", (400, 200), 2, 4, 6561, 729, 751),
        ("smolvlm", (400, 300), 3, 4, 9477, 1053, 1084),
        # By transformers 5.19 alone.
        ("smolvlm", (1536, 1536), 4, 4, 12393, 1377, 1417),
        ("idefics3", (336, 84), 1, 4, 3380, 845, 858),
        ("idefics3", (84, 336), 4, 1, 3380, 845, 861),
        ("smolvlm-256m", (400, 300), 3, 4, 13312, 832, 863),
    ],
)
def test_known_pictures(
    model: str,
    size: tuple[int, int],
    rows: int,
    columns: int,
    encoder: int,
    connector: int,
    prompt: int,
) -> None:
    flow = FAMILY.flow(LAYOUTS[model], Picture(width=size[0], height=size[1]))
    assert (flow.details["tile_rows"], flow.details["tile_columns"]) == (rows, columns)
    assert (flow.rows["encoder"], flow.rows["connector"]) == (encoder, connector)
    assert (flow.tokens, flow.prompt_tokens) == (connector, prompt)


@pytest.mark.parametrize("known_flow", FAMILY.known_flows)
def test_what_others_state(known_flow: Any) -> None:
    picture = Picture(width=known_flow.width, height=known_flow.height)
    said = FAMILY.flow(LAYOUTS[known_flow.model], picture).as_json()
    assert said[known_flow.quantity] == known_flow.value


@given(st.sampled_from(list(LAYOUTS.values())), sides, sides)
def test_any_picture(layout: Layout, width: int, height: int) -> None:
    flow = FAMILY.flow(layout, Picture(width=width, height=height))
    rows, columns = flow.details["tile_rows"], flow.details["tile_columns"]
    assert max(rows, columns) == 4
    assert flow.units == rows * columns + 1
    assert flow.rows["encoder"] == flow.tokens * layout.scale_factor**2
    turned = FAMILY.flow(layout, Picture(width=height, height=width))
    assert turned.tokens == flow.tokens
    # The tiles cover the picture, and no row or column of them is without it: even sides aside.
    longer, shorter = max(width, height), min(width, height)
    needed = layout.longest_edge * shorter / longer
    few = min(rows, columns)
    assert (few - 1) * layout.image_size < needed + 2
    assert int(needed) <= few * layout.image_size  # transformers cuts the fraction off


def test_a_picture_that_is_not_cut() -> None:
    whole = Layout(image_size=384, patch_size=14, scale_factor=3, longest_edge=1000, splits=False)
    flow = FAMILY.flow(whole, Picture(width=4000, height=3))
    assert (flow.units, flow.tokens, flow.prompt_tokens) == (1, 81, 84)


@pytest.mark.parametrize(
    "wrong", [{"patch_size": 0}, {"scale_factor": 4}, {"longest_edge": 1000}, {"patch_size": 400}]
)
def test_impossible_layouts(wrong: dict[str, int]) -> None:
    right = {"image_size": 384, "patch_size": 14, "scale_factor": 3, "longest_edge": 1536}
    with pytest.raises(UsageError):
        Layout(**{**right, **wrong})


def test_at_least_14_sizes_and_several_pictures_are_asked() -> None:
    for layout in LAYOUTS.values():
        questions = FAMILY.questions(layout)
        assert len({prompt[0].seen_size for prompt in questions if len(prompt) == 1}) >= 14
        assert max(map(len, questions)) == FAMILY.limits["image"]


@pytest.mark.parametrize(
    ("path", "group", "layer"),
    [
        ("model.vision_model.encoder.layers.26.self_attn.out_proj", "tower-attention", "out_proj"),
        ("model.vision_model.encoder.layers.0.self_attn.k_proj", "tower-attention", "qkv_proj"),
        ("model.vision_model.encoder.layers.1.mlp.fc2", "tower-mlp", "fc2"),
        ("model.connector.modality_projection.proj", "connector", "proj"),
        ("model.text_model.layers.3.mlp.up_proj", "language-model", "gate_up_proj"),
        ("model.text_model.layers.3.self_attn.o_proj", "language-model", "o_proj"),
    ],
)
def test_groups_and_names(path: str, group: str, layer: str) -> None:
    require_path(FAMILY, path, group, f"{path.rpartition('.')[0]}.{layer}")


def test_what_takes_no_adapter() -> None:
    assert FAMILY.group_of("model.vision_model.embeddings.patch_embedding") is None
    assert FAMILY.group_of("lm_head") is None
    assert FAMILY.role_of_path("model.text_model.embed_tokens") == LANGUAGE


def test_a_pair_of_every_role_differs() -> None:
    for role in (TOWER, CONNECTOR, LANGUAGE):
        one, other = pair(FAMILY, role)
        assert one != other
        assert {one, other} <= known(FAMILY).keys()
    one, other = pair(FAMILY, CONNECTOR)
    assert other == others_name(one)
    assert known(FAMILY)[one].pattern == known(FAMILY)[other].pattern


def test_mistakes() -> None:
    class Idefics3ForConditionalGeneration:
        config = SimpleNamespace(
            scale_factor=3, vision_config=SimpleNamespace(image_size=384, patch_size=14)
        )

        def get_mm_lora_token_counts(self, *, num_mm_embeds: int) -> tuple[int, int]:
            return num_mm_embeds * 9, num_mm_embeds

        def get_mm_mapping(self) -> Any:
            return SimpleNamespace(connector=["model.connector"], tower_model=["model.vision"])

    answers = {}
    for patch in mutants.PATCHES:
        module = ModuleType("counts")
        copy = type(
            "Idefics3ForConditionalGeneration",
            (Idefics3ForConditionalGeneration,),
            dict(vars(Idefics3ForConditionalGeneration)),
        )
        module.Idefics3ForConditionalGeneration = copy  # type: ignore[attr-defined]
        patch.apply(module)
        answers[patch.id.removeprefix("mutant-")] = (
            copy().get_mm_lora_token_counts(num_mm_embeds=405),
            copy().get_mm_mapping().connector,
        )
    assert answers == {
        "scale-not-squared": ((405 * 3, 405), ["model.connector"]),
        "whole-picture-lost": ((3645 - 729, 405 - 81), ["model.connector"]),
        "idefics3-connector-as-tower": ((3645, 3645), ["model.connector"]),
        "idefics3-connector-under-tower": ((3645, 405), []),
    }
