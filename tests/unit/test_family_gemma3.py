"""Gemma 3: arithmetic, groups, names, fixes of its hooks, miscounts, attention in pictures."""

import dataclasses
import json
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
from family_paths import require_path
from hypothesis import given, settings
from hypothesis import strategies as st

from mm_lora.checks import roles
from mm_lora.checks.mismatch import Mismatch
from mm_lora.core.asking import Picture
from mm_lora.core.errors import UsageError
from mm_lora.families import registry
from mm_lora.families.gemma3.family import UNPOOLED
from mm_lora.families.gemma3.layout import Layout
from mm_lora.families.gemma3.miniature import BREAKS, IMAGE
from mm_lora.families.gemma3.torch_side import SIDE
from mm_lora.families.models import resolve
from mm_lora.families.modules import CONNECTOR, LANGUAGE, TOWER
from mm_lora.families.vocabulary import token_id, tokenizer_json
from mm_lora.inside.families.gemma3 import hooks
from mm_lora.inside.fixes import picture_attention

FAMILY = registry.family("gemma3")
LAYOUTS = {name: resolve(name).layout for name in FAMILY.published}
LAYOUT: Layout = LAYOUTS["gemma3"]
CONFIG = resolve("gemma3").config
sides = st.integers(1, 12_000)


@given(st.sampled_from(list(LAYOUTS.values())), sides, sides)
def test_any_picture(layout: Layout, width: int, height: int) -> None:
    # 64 × 64 patches, 256 tokens: the model's report. 259 prompt tokens: transformers 5.19.
    flow = FAMILY.flow(layout, Picture(width=width, height=height))
    assert (flow.rows["encoder"], flow.rows["connector"], flow.tokens) == (4096, 256, 256)
    assert flow.prompt_tokens == 259


@given(st.integers(1, 40), st.integers(1, 12), st.integers(1, 20), st.integers(0, 19))
def test_any_layout(kept: int, kernel: int, patch: int, left: int) -> None:
    size = kept * kernel * patch + left % patch
    layout = Layout(image_size=size, patch_size=patch, pooled=kept**2)
    grid = layout.grid(1, 1)
    assert grid == (kept * kernel, kept * kernel)
    assert layout.encoder_rows(grid) == layout.connector_rows(grid) * kernel**2


@pytest.mark.parametrize("known", FAMILY.known_flows)
def test_what_others_state(known: Any) -> None:
    flow = FAMILY.flow(LAYOUTS[known.model], Picture(width=known.width, height=known.height))
    assert flow.as_json()[known.quantity] == known.value


@pytest.mark.parametrize(
    "wrong",
    [{"pooled": 255}, {"pooled": 0}, {"pooled": True}, {"pooled": 81}, {"patch_size": 1000}],
)
def test_impossible_layouts(wrong: dict[str, Any]) -> None:
    with pytest.raises(UsageError):
        Layout(**{"image_size": 896, "patch_size": 14, "pooled": 256, **wrong})


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"size": {"height": 896, "width": 896}, "do_pan_and_scan": None}, ""),
        ({"image_seq_length": 256, "image_processor": {"do_pan_and_scan": False}}, ""),
        ({"size": {"height": 448, "width": 448}}, "448"),
        ({"image_seq_length": 64}, "64"),
        ({"do_pan_and_scan": True}, "do_pan_and_scan"),
        ({"image_processor": {"do_pan_and_scan": True}}, "do_pan_and_scan"),
    ],
)
def test_the_processor_must_say_the_same(
    tmp_path: Path, settings: dict[str, Any], reason: str
) -> None:
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(settings), encoding="utf-8")
    if not reason:
        assert FAMILY.layout(CONFIG, tmp_path) == LAYOUT
        return
    with pytest.raises(UsageError, match=reason):
        FAMILY.layout(CONFIG, tmp_path)


def test_other_towers_and_no_tower() -> None:
    for config in ({}, {"vision_config": {"model_type": "clip_vision_model"}}):
        with pytest.raises(UsageError):
            FAMILY.layout(config, None)


@pytest.mark.parametrize("name", FAMILY.published)
def test_the_miniature_keeps_geometry_and_windows(name: str) -> None:
    model = resolve(name)
    config = FAMILY.miniature(model.config, model.layout)
    vision, text = config["vision_config"], config["text_config"]
    kept = ("image_size", "patch_size", "vision_use_head")
    assert {key: vision[key] for key in kept} == {
        key: model.config["vision_config"][key] for key in kept
    }
    assert (text["sliding_window"], text["num_hidden_layers"]) == (1024, 6)
    assert text["query_pre_attn_scalar"] == text["head_dim"]
    assert config["image_token_index"] == token_id(FAMILY.special_tokens, IMAGE)
    assert FAMILY.layout(json.loads(json.dumps(config)), None) == model.layout


def test_line_breaks_are_tokens_of_their_own() -> None:
    known = tokenizer_json(FAMILY.special_tokens)
    added = {one["content"]: one["normalized"] for one in known["added_tokens"]}
    assert BREAKS == ("\n", "\n\n", "\n\n\n", "\n\n\n\n")
    assert not any(added[one] for one in BREAKS)
    # A picture's line breaks join this one: without it a picture would have a token more.
    assert "'<start_of_turn>' + " in FAMILY.chat_template
    assert "message['role']) + '\\n'" in FAMILY.chat_template


def test_at_least_14_sizes_and_several_pictures_are_asked() -> None:
    questions = FAMILY.questions(LAYOUT)
    assert len({prompt[0].seen_size for prompt in questions if len(prompt) == 1}) >= 14
    assert max(map(len, questions)) == FAMILY.limits["image"]


@pytest.mark.parametrize(
    ("path", "group", "layer"),
    [
        (
            "model.vision_tower.encoder.layers.26.self_attn.k_proj",
            "tower-attention",
            "vision_tower.vision_model.encoder.layers.26.self_attn.qkv_proj",
        ),
        (
            "model.vision_tower.encoder.layers.0.mlp.fc2",
            "tower-mlp",
            "vision_tower.vision_model.encoder.layers.0.mlp.fc2",
        ),
        (
            "model.language_model.layers.3.mlp.up_proj",
            "language-model",
            "language_model.model.layers.3.mlp.gate_up_proj",
        ),
    ],
)
def test_groups_and_names(path: str, group: str, layer: str) -> None:
    require_path(FAMILY, path, group, layer)
    saved = SIDE.saved_names(path)
    assert SIDE.own_names(saved) == path
    assert FAMILY.layer_of(saved) == layer


def test_the_connector_takes_no_adapter() -> None:
    assert FAMILY.group_of("model.multi_modal_projector") is None
    assert FAMILY.roled(CONNECTOR) == ()
    assert roles.roles(FAMILY) == (TOWER, LANGUAGE)
    # Cases that want another vision adapter than the first get the tower's last.
    assert roles.first_connector(FAMILY) == roles.last_connector(FAMILY) == ("tower-mlp",)
    assert roles.first_tower(FAMILY) == ("tower-attention",)


@pytest.mark.parametrize(
    ("found", "explained"),
    [
        ([], False),
        ([Mismatch("gemma3 256 placeholders", "connector rows", 256, 4096)], True),
        ([Mismatch("gemma3 256 placeholders", "connector rows", 256, 1024)], False),
        ([Mismatch("gemma3 256 placeholders", "tower rows", 256, 4096)], False),
        (
            [
                Mismatch("gemma3 256 placeholders", "connector rows", 256, 4096),
                Mismatch("gemma3 256 placeholders", "tower rows", 4096, 256),
            ],
            False,
        ),
    ],
)
def test_only_rows_before_pooling_are_predicted(found: list[Mismatch], explained: bool) -> None:
    assert FAMILY.predicted_rows(LAYOUT, found) == ((UNPOOLED,) if explained else ())


def patched(patch_id: str, tokens: int = 256) -> Any:
    """A stand-in for the class in vLLM, with the published config and vLLM's own count."""
    vision = SimpleNamespace(**CONFIG["vision_config"])

    @dataclasses.dataclass
    class Mapper:
        orig_to_new_prefix: dict[str, str]

    class Gemma3ForConditionalGeneration:
        hf_to_vllm_mapper = Mapper({"model.vision_tower.": "vision_tower."})

        def __init__(self) -> None:
            self.config = SimpleNamespace(vision_config=vision, mm_tokens_per_image=tokens)

        def get_mm_lora_token_counts(self, *, num_mm_embeds: int) -> tuple[int, int]:
            return num_mm_embeds * 16, num_mm_embeds * 16

    (patch,) = (one for one in hooks.PATCHES if one.id == patch_id)
    module = ModuleType("gemma3_mm")
    module.Gemma3ForConditionalGeneration = (  # type: ignore[attr-defined]
        Gemma3ForConditionalGeneration
    )
    patch.apply(module)
    return module.Gemma3ForConditionalGeneration


@pytest.mark.parametrize(
    ("patch", "tokens", "rows"),
    [
        ("gemma3-connector-rows", 256, (8192, 512)),
        ("gemma3-connector-rows", 1024, (2048, 512)),
        ("mutant-gemma3-pooling-forgotten", 256, (512, 8192)),
        ("mutant-gemma3-pooling-not-squared", 256, (2048, 8192)),
    ],
)
def test_the_hooks_fix_and_its_miscounts(patch: str, tokens: int, rows: tuple[int, int]) -> None:
    assert patched(patch, tokens)().get_mm_lora_token_counts(num_mm_embeds=512) == rows


def test_the_fixed_hook_is_what_the_arithmetic_says() -> None:
    model = patched("gemma3-connector-rows")()
    for case in FAMILY.hook_cases(LAYOUT):
        if case.has_answer:
            rows = model.get_mm_lora_token_counts(num_mm_embeds=case.tokens)
            assert rows == (case.tower, case.connector), case


def test_the_other_names_come_before_the_towers_own() -> None:
    mapper = patched("gemma3-tower-names").hf_to_vllm_mapper
    assert next(iter(mapper.orig_to_new_prefix)) == "model.vision_tower.encoder."


@pytest.mark.parametrize(
    ("first", "end", "pictures", "expected"),
    [
        (0, 9, (), [(9, False)]),
        (0, 9, ((3, 5),), [(3, False), (6, True), (9, False)]),
        (0, 6, ((0, 5),), [(6, True)]),
        # A chunk of a prompt: what is left of a picture, or the part of it that is there.
        (4, 9, ((3, 5),), [(6, True), (9, False)]),
        (0, 5, ((3, 5),), [(3, False), (5, True)]),
        (6, 9, ((3, 5),), [(9, False)]),
        (0, 3, ((3, 5),), [(3, False)]),
        (8, 9, ((3, 5), (10, 12)), [(9, False)]),
        (0, 12, ((7, 9), (2, 4)), [(2, False), (5, True), (7, False), (10, True), (12, False)]),
    ],
)
def test_a_prompt_in_stretches(
    first: int, end: int, pictures: Any, expected: list[tuple[int, bool]]
) -> None:
    assert list(picture_attention.stretches(first, end, pictures)) == expected


@settings(max_examples=30)
@given(st.data())
def test_stretches_show_each_row_what_it_may_see(data: st.DataObject) -> None:
    lengths = data.draw(st.lists(st.integers(1, 12), min_size=1, max_size=4))
    news = [data.draw(st.integers(1, length)) for length in lengths]
    pictures = {at: _ranges(data, length) for at, length in enumerate(lengths)}
    starts = [sum(news[:at]) for at in range(len(news) + 1)]
    row = 0
    for owner, behind, keys, picture in picture_attention.cut(starts, lengths, pictures):
        for position in range(keys - (behind - row), keys):
            seen = keys if picture else position + 1
            own = [last for start, last in pictures[owner] if start <= position <= last]
            # As far as its picture goes, of which a chunk may end before it.
            assert seen == min(max([position, *own]) + 1, lengths[owner])
            assert row == starts[owner] + position - (lengths[owner] - news[owner])
            row += 1
    assert row == starts[-1]


def _ranges(data: st.DataObject, length: int) -> list[tuple[int, int]]:
    edges = data.draw(st.lists(st.integers(0, length + 3), unique=True, max_size=4).map(sorted))
    return [(a, b - 1) for a, b in zip(edges[::2], edges[1::2], strict=False)]
