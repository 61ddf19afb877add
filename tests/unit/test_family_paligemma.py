"""PaliGemma: arithmetic, one picture a prompt, groups, fixes, miscounts, what a prompt sees."""

import dataclasses
import json
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
from family_paths import require_path
from hypothesis import given
from hypothesis import strategies as st

from mm_lora.checks import roles
from mm_lora.checks.isolation.questions import TWO, everyone, questions
from mm_lora.checks.running import Served
from mm_lora.core.asking import Picture, Request, Sound, Video
from mm_lora.core.errors import UsageError
from mm_lora.core.skips import NotApplicable, SkipReason
from mm_lora.families import registry
from mm_lora.families.models import resolve
from mm_lora.families.modules import CONNECTOR
from mm_lora.families.paligemma.torch_side import SIDE, text_attended_causally
from mm_lora.families.vocabulary import token_id
from mm_lora.inside.families.paligemma import hooks, prompt_attention

FAMILY = registry.family("paligemma")
LAYOUTS = {name: resolve(name).layout for name in FAMILY.published}
LAYOUT = LAYOUTS["paligemma"]
CONFIG = resolve("paligemma").config
PICTURE = FAMILY.sizes.picture("one")
sides = st.integers(1, 12_000)


@given(st.sampled_from(sorted(LAYOUTS)), sides, sides)
def test_any_picture(name: str, width: int, height: int) -> None:
    # 258 and 1026 prompt tokens: transformers 5.19.
    flow = FAMILY.flow(LAYOUTS[name], Picture(width=width, height=height))
    rows = {"paligemma": 256, "paligemma-448": 1024}[name]
    assert (flow.rows["encoder"], flow.rows["connector"], flow.tokens) == (rows, rows, rows)
    assert flow.prompt_tokens == rows + 2


@given(st.integers(1, 70), st.integers(1, 32), st.integers(0, 31))
def test_any_layout(side: int, patch: int, left: int) -> None:
    size = side * patch + left % patch
    layout = FAMILY.layout({"vision_config": {"image_size": size, "patch_size": patch}}, None)
    grid = layout.grid(1, 1)
    assert layout.encoder_rows(grid) == layout.connector_rows(grid) == side**2


@pytest.mark.parametrize("known", FAMILY.known_flows)
def test_what_others_state(known: Any) -> None:
    flow = FAMILY.flow(LAYOUTS[known.model], Picture(width=known.width, height=known.height))
    assert flow.as_json()[known.quantity] == known.value


@pytest.mark.parametrize(
    "config",
    [
        {},
        {"vision_config": {"model_type": "clip_vision_model"}},
        {"vision_config": {"image_size": 8}},
        {"vision_config": {"image_size": 448, "patch_size": 14, "num_image_tokens": 256}},
    ],
)
def test_impossible_configs(config: dict[str, Any]) -> None:
    with pytest.raises(UsageError):
        FAMILY.layout(config, None)


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"size": {"height": 224, "width": 224}, "image_seq_length": 256}, ""),
        ({"size": {"height": 448, "width": 448}}, "448"),
        ({"image_seq_length": 1024}, "1024"),
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


@pytest.mark.parametrize("name", FAMILY.published)
def test_the_miniature_keeps_geometry_and_shared_keys(name: str) -> None:
    model = resolve(name)
    config = FAMILY.miniature(model.config, model.layout)
    vision, text = config["vision_config"], config["text_config"]
    assert (text["num_attention_heads"], text["num_key_value_heads"]) == (4, 1)
    assert config["hidden_size"] == config["projection_dim"] == text["hidden_size"]
    assert vision["projection_dim"] == text["hidden_size"]
    assert config["image_token_index"] == token_id(FAMILY.special_tokens, "<image>")
    assert FAMILY.layout(json.loads(json.dumps(config)), None) == model.layout
    # vLLM looks the line break up, and no turn may come between the picture and the text.
    assert "\n" in FAMILY.special_tokens
    assert "role" not in FAMILY.chat_template


def test_one_picture_a_prompt() -> None:
    asked = FAMILY.questions(LAYOUT)
    assert {len(prompt) for prompt in asked} == {1}
    assert len({prompt[0].seen_size for prompt in asked}) >= 14
    assert FAMILY.holds((PICTURE,))
    assert not FAMILY.holds((PICTURE, PICTURE))
    assert not FAMILY.holds((Sound(samples=16000),))
    qwen = registry.family("qwen2.5-vl")
    video = Video(width=112, height=112)
    assert qwen.holds((PICTURE, PICTURE, video))
    assert not qwen.holds((video, video))


def test_checks_with_two_pictures_do_not_apply() -> None:
    assert TWO not in questions(FAMILY)
    assert len(everyone(FAMILY, ("base", "all", "projector", "tower-mlp"), text=())) == 4
    context: Any = SimpleNamespace(model=lambda name: SimpleNamespace(family=FAMILY))
    spec: Any = SimpleNamespace(model="paligemma")
    request = Request(model="base", pictures=(PICTURE, PICTURE))
    served = Served(context, spec)
    for ask in (
        lambda: served.ask(request),
        lambda: served.ask_all([request]),
        lambda: served.ask_after(request, lambda: None),
    ):
        with pytest.raises(NotApplicable, match="at most 1 image") as skipped:
            ask()
        assert skipped.value.reason is SkipReason.FEWER_MEDIA


@pytest.mark.parametrize(
    ("path", "group", "layer"),
    [
        (
            "model.vision_tower.encoder.layers.26.self_attn.k_proj",
            "tower-attention",
            "vision_tower.vision_model.encoder.layers.26.self_attn.qkv_proj",
        ),
        (
            "model.multi_modal_projector.linear",
            "projector",
            "multi_modal_projector.linear",
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
    assert FAMILY.layer_of(SIDE.saved_names(path)) == layer
    assert roles.connectors(FAMILY) == ("projector",)
    assert FAMILY.prefix_cases["multi_modal_projector.linear"] == CONNECTOR


def patched(patch_id: str) -> Any:
    """A stand-in for the class in vLLM, with the published config and vLLM's own count."""

    class PaliGemmaForConditionalGeneration:
        def __init__(self) -> None:
            vision = {"image_size": 224, **CONFIG["vision_config"]}
            self.config = SimpleNamespace(vision_config=SimpleNamespace(**vision))

        def get_mm_lora_token_counts(self, *, num_mm_embeds: int) -> tuple[int, int]:
            return num_mm_embeds, num_mm_embeds

        def get_mm_mapping(self) -> SimpleNamespace:
            return SimpleNamespace(tower_model=["tower"], connector=["projector"])

    (patch,) = (one for one in hooks.PATCHES if one.id == f"mutant-paligemma-{patch_id}")
    module = ModuleType("paligemma")
    module.PaliGemmaForConditionalGeneration = (  # type: ignore[attr-defined]
        PaliGemmaForConditionalGeneration
    )
    patch.apply(module)
    return PaliGemmaForConditionalGeneration()


@pytest.mark.parametrize(
    ("name", "rows"),
    [
        ("class-token-everywhere", (514, 514)),
        ("tower-as-pooled", (128, 512)),
        ("projector-as-pooled", (512, 128)),
    ],
)
def test_the_miscounts(name: str, rows: tuple[int, int]) -> None:
    assert patched(name).get_mm_lora_token_counts(num_mm_embeds=512) == rows


class Row(list[Any]):
    """As much of a tensor of one dimension as is needed."""

    def new_zeros(self, length: int) -> "Row":
        return Row([False] * length)

    def masked_fill(self, where: list[bool], value: Any) -> "Row":
        return Row(value if one else mine for one, mine in zip(where, self, strict=True))

    def __ne__(self, other: object) -> list[bool]:  # type: ignore[override]
        return [mine != other for mine in self]

    __hash__ = None  # type: ignore[assignment]


@dataclasses.dataclass(frozen=True)
class Place:
    """vLLM's PlaceholderRange."""

    offset: int
    length: int
    is_embed: Any


def test_the_placeholder_becomes_the_prompt() -> None:
    place = Place(1, 3, Row([True, True, False]))
    assert prompt_attention.over(place, 6) == Place(
        0, 6, Row([False, True, True, False, False, False])
    )


def test_a_fixed_prompt_is_cached_for_itself_alone() -> None:
    class PaliGemmaMultiModalProcessor:
        def apply(self, ids: list[int]) -> dict[str, Any]:
            places = {"image": [Place(0, 2, Row([True, False]))]}
            return {"prompt_token_ids": ids, "mm_placeholders": places}

    make = next(iter(prompt_attention.PATCH.wraps.values()))
    fixed = make(PaliGemmaMultiModalProcessor.apply)
    one, same, other = (fixed(PaliGemmaMultiModalProcessor(), ids) for ids in ([1], [1], [1, 2]))
    assert one["cache_salt"] == same["cache_salt"] != other["cache_salt"]
    assert other["mm_placeholders"]["image"][0].length == 2


@pytest.mark.parametrize(
    ("length", "computed", "room", "rows"),
    [(258, 0, 258, 258), (258, 0, 200, 0), (258, 192, 66, 66), (258, 192, 9, 0), (4000, 0, 9, 9)],
)
def test_a_fixed_prompt_is_read_at_once(length: int, computed: int, room: int, rows: int) -> None:
    def as_asked(self: Any, request: Any, computed: int, rows: int, budget: int) -> Any:
        return [0], rows, budget, [], []

    schedule = list(prompt_attention.PATCH.wraps.values())[2](as_asked)
    scheduler = SimpleNamespace(max_num_scheduled_tokens=2048)
    feature = SimpleNamespace(mm_position=Place(0, length, None))
    request = SimpleNamespace(num_prompt_tokens=length, mm_features=[feature])
    assert schedule(scheduler, request, computed, room, 2048)[1] == rows
    feature.mm_position = Place(1, length - 2, None)
    assert schedule(scheduler, request, computed, room, 2048)[1] == room


def test_the_predictor_hides_texts_from_pictures() -> None:
    class Inner:
        def forward(self, input_ids: Any, token_type_ids: Any) -> Any:
            return token_type_ids

    inner = Inner()
    model = SimpleNamespace(model=inner, config=SimpleNamespace(image_token_id=9))
    given = {"input_ids": Row([9, 9, 2, 5]), "token_type_ids": Row([0, 0, 0, 1])}
    with text_attended_causally(model):
        assert list(inner.forward(**given)) == [0, 0, 1, 1]
        assert inner.forward(input_ids=Row([5]), token_type_ids=None) is None
    assert list(inner.forward(**given)) == [0, 0, 0, 1]


def test_the_wrong_wrapper() -> None:
    mapping = patched("projector-under-tower").get_mm_mapping()
    assert (mapping.tower_model, mapping.connector) == (["tower", "projector"], [])
