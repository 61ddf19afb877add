"""BLIP-2: arithmetic, one picture a prompt, groups, fixes of layers and hooks, miscounts."""

import json
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
from family_paths import require_path
from hypothesis import given
from hypothesis import strategies as st

from mm_lora.checks import roles
from mm_lora.checks.mismatch import Mismatch
from mm_lora.core.asking import Picture
from mm_lora.core.errors import UsageError
from mm_lora.families import registry
from mm_lora.families.blip2.family import BUDGET, CROSS_KEYS, WHOLE_BUDGETS
from mm_lora.families.blip2.torch_side import SIDE
from mm_lora.families.models import resolve
from mm_lora.families.modules import CONNECTOR, TOWER
from mm_lora.families.qwen import tower_qkv
from mm_lora.families.vocabulary import token_id
from mm_lora.inside import lora_linear
from mm_lora.inside.families import blip2

FAMILY = registry.family("blip-2")
LAYOUTS = {name: resolve(name).layout for name in FAMILY.published}
LAYOUT = LAYOUTS["blip-2"]
CONFIG = resolve("blip-2").config
LAYER = "qformer.encoder.layer.0"
sides = st.integers(1, 12_000)


@given(st.sampled_from(sorted(LAYOUTS)), sides, sides)
def test_any_picture(name: str, width: int, height: int) -> None:
    # 32 prompt tokens before the text: transformers 5.19.
    flow = FAMILY.flow(LAYOUTS[name], Picture(width=width, height=height))
    rows = {"blip-2": 257, "blip-2-6.7b": 257, "blip-2-coco": 677}[name]
    assert (flow.rows["encoder"], flow.rows["connector"]) == (rows, 32)
    assert flow.tokens == flow.prompt_tokens == 32


@given(st.integers(1, 70), st.integers(1, 32), st.integers(1, 100))
def test_any_layout(side: int, patch: int, queries: int) -> None:
    vision = {"image_size": side * patch, "patch_size": patch}
    layout = FAMILY.layout({"vision_config": vision, "num_query_tokens": queries}, None)
    assert (layout.encoder_rows, layout.queries) == (side**2 + 1, queries)


@pytest.mark.parametrize("known", FAMILY.known_flows)
def test_what_others_state(known: Any) -> None:
    flow = FAMILY.flow(LAYOUTS[known.model], Picture(width=known.width, height=known.height))
    assert flow.as_json()[known.quantity] == known.value


@pytest.mark.parametrize(
    ("config", "reason"),
    [
        ({}, "vision_config"),
        ({"vision_config": {"image_size": 8}}, "14"),
        ({"vision_config": {"image_size": 225}}, "225"),
        ({"vision_config": {}, "num_query_tokens": 0}, "queries"),
        ({"vision_config": {}, "text_config": {"model_type": "t5"}}, "'t5'"),
    ],
)
def test_impossible_configs(config: dict[str, Any], reason: str) -> None:
    with pytest.raises(UsageError, match=reason):
        FAMILY.layout(config, None)


@pytest.mark.parametrize(
    ("file", "settings", "reason"),
    [
        ("preprocessor_config.json", {"size": {"height": 224, "width": 224}}, ""),
        ("preprocessor_config.json", {"size": {"height": 364, "width": 364}}, "364"),
        ("processor_config.json", {"num_query_tokens": 32}, ""),
        ("processor_config.json", {"num_query_tokens": 64}, "64"),
    ],
)
def test_the_processor_must_say_the_same(
    tmp_path: Path, file: str, settings: dict[str, Any], reason: str
) -> None:
    (tmp_path / file).write_text(json.dumps(settings), encoding="utf-8")
    if not reason:
        assert FAMILY.layout(CONFIG, tmp_path) == LAYOUT
        return
    with pytest.raises(UsageError, match=reason):
        FAMILY.layout(CONFIG, tmp_path)


@pytest.mark.parametrize("name", FAMILY.published)
def test_the_miniature_keeps_geometry_and_queries(name: str) -> None:
    model = resolve(name)
    config = FAMILY.miniature(model.config, model.layout)
    vision, qformer, text = (config[f"{part}_config"] for part in ("vision", "qformer", "text"))
    assert qformer["encoder_hidden_size"] == vision["hidden_size"] != qformer["hidden_size"]
    # A layer that does not look at the picture lies between two that do.
    assert (qformer["num_hidden_layers"], qformer["cross_attention_frequency"]) == (3, 2)
    assert text["word_embed_proj_dim"] == text["hidden_size"]
    assert "intermediate_size" not in text
    assert config["image_token_index"] == token_id(FAMILY.special_tokens, "<image>")
    assert FAMILY.layout(json.loads(json.dumps(config)), None) == model.layout
    with pytest.raises(UsageError, match="qformer_config"):
        FAMILY.miniature({**model.config, "qformer_config": None}, model.layout)


def test_one_picture_a_prompt() -> None:
    asked = FAMILY.questions(LAYOUT)
    assert {len(prompt) for prompt in asked} == {1}
    assert len({prompt[0].seen_size for prompt in asked}) >= 14
    picture = FAMILY.sizes.picture("one")
    assert FAMILY.holds((picture,))
    assert not FAMILY.holds((picture, picture))
    # No turn may come between the picture and the text.
    assert "role" not in FAMILY.chat_template


@pytest.mark.parametrize(
    ("path", "group", "role", "layer"),
    [
        (
            "vision_model.encoder.layers.38.self_attn.qkv",
            "tower-attention",
            TOWER,
            "vision_model.encoder.layers.38.self_attn.qkv",
        ),
        (
            f"{LAYER}.crossattention.attention.key",
            "cross-keys",
            TOWER,
            f"{LAYER}.crossattention.attention.key",
        ),
        (
            f"{LAYER}.attention.attention.key",
            "qformer-attention",
            CONNECTOR,
            f"{LAYER}.attention.attention.key",
        ),
        (
            "language_model.model.decoder.layers.3.self_attn.k_proj",
            "language-model",
            "language",
            "language_model.model.decoder.layers.3.self_attn.qkv_proj",
        ),
    ],
)
def test_groups_and_names(path: str, group: str, role: str, layer: str) -> None:
    assert require_path(FAMILY, path, group, layer).role == role


@pytest.mark.parametrize(
    "path",
    [
        "vision_model.embeddings.patch_embedding",
        f"{LAYER}.intermediate.dense",
        f"{LAYER}.attention.output.LayerNorm",
        "language_model.model.decoder.layers.0.final_layer_norm",
        "language_model.model.decoder.layers.0.activation_fn",
        "language_model.lm_head",
    ],
)
def test_what_no_adapter_targets(path: str) -> None:
    assert FAMILY.group_of(path) is None


def test_every_connector_takes_an_adapter() -> None:
    assert roles.connectors(FAMILY) == (
        *("cross-query", "qformer-attention", "qformer-dense"),
        "projection",
    )


class Blip2ForConditionalGeneration:
    """A stand-in for the class in vLLM, with the published config, vLLM's own count and names."""

    def __init__(self) -> None:
        parts = {
            name: SimpleNamespace(**CONFIG[f"{name}_config"]) for name in ("vision", "qformer")
        }
        self.config = SimpleNamespace(
            num_query_tokens=32,
            **{f"{name}_config": part for name, part in parts.items()},
        )

    def get_mm_lora_token_counts(self, *, mm_kwargs: Any, num_mm_embeds: int) -> tuple[int, int]:
        assert num_mm_embeds % 32 == 0
        return num_mm_embeds // 32 * 257, num_mm_embeds

    def get_mm_mapping(self) -> SimpleNamespace:
        return SimpleNamespace(
            tower_model=["vision_model"], connector=["qformer", "language_projection"]
        )


def patched(*patch_ids: str) -> Any:
    """The stand-in's like, with these patches' hooks."""
    kind = type("Blip2ForConditionalGeneration", (Blip2ForConditionalGeneration,), {})
    for name in ("get_mm_lora_token_counts", "get_mm_mapping"):
        setattr(kind, name, vars(Blip2ForConditionalGeneration)[name])
    module = ModuleType(blip2.MODULE)
    module.Blip2ForConditionalGeneration = kind  # type: ignore[attr-defined]
    for patch in (one for one in blip2.PATCHES if one.id in patch_ids):
        for point, make in patch.wraps.items():
            name = point.rpartition(".")[2]
            if name != "__init__":
                setattr(kind, name, make(getattr(kind, name)))
    return kind()


@pytest.mark.parametrize(
    ("name", "rows"),
    [
        ("class-token-forgotten", (512, 64)),
        ("tower-as-queries", (64, 64)),
        ("connector-as-tower", (514, 514)),
    ],
)
def test_the_miscounts(name: str, rows: tuple[int, int]) -> None:
    model = patched(f"mutant-blip2-{name}")
    assert model.get_mm_lora_token_counts(mm_kwargs={}, num_mm_embeds=64) == rows


def test_what_the_hook_reads() -> None:
    assert blip2.prepared(patched().config) == {"_vision_tokens_per_image": 257}


@pytest.mark.parametrize(("budget", "pictures"), [(31, 0), (32, 1), (1000, 31), (2048, 64)])
def test_any_budget_has_an_answer(budget: int, pictures: int) -> None:
    asked = {"mm_kwargs": None, "num_mm_embeds": budget}
    rows = patched("blip2-any-budget").get_mm_lora_token_counts(**asked)
    assert rows == (257 * pictures, 32 * pictures)
    with pytest.raises(AssertionError):
        patched("blip2-any-budget").get_mm_lora_token_counts(mm_kwargs={}, num_mm_embeds=33)


def test_what_reads_the_picture_is_of_the_tower() -> None:
    keys = patched("blip2-connector-layers").get_mm_mapping().tower_model
    assert keys[:3] == [
        "vision_model",
        f"{LAYER}.crossattention.attention.key",
        f"{LAYER}.crossattention.attention.value",
    ]
    assert len(keys) == 1 + 2 * 6
    mistaken = patched("blip2-connector-layers", "mutant-blip2-cross-keys-under-connector")
    assert mistaken.get_mm_mapping().tower_model == ["vision_model"]
    wrong = patched("mutant-blip2-connector-under-tower").get_mm_mapping()
    assert (wrong.tower_model[1:], wrong.connector) == (["qformer", "language_projection"], [])


def test_the_towers_qkv_is_listed() -> None:
    class BlipVisionModel:
        packed_modules_mapping = {"qkv_proj": ["q_proj", "k_proj", "v_proj"]}  # noqa: RUF012

        def __init__(self, config: Any) -> None:
            self.config = config

    (patch,) = (one for one in blip2.PATCHES if one.id == "blip2-tower-qkv")
    BlipVisionModel.__init__ = next(iter(patch.wraps.values()))(  # type: ignore[method-assign]
        BlipVisionModel.__init__
    )
    tower = BlipVisionModel("config")
    assert tower.config == "config"
    assert tower.packed_modules_mapping == {
        "qkv_proj": ["q_proj", "k_proj", "v_proj"],
        "qkv": ["qkv"],
    }
    assert BlipVisionModel.packed_modules_mapping == {"qkv_proj": ["q_proj", "k_proj", "v_proj"]}


class Linear:
    """As much of torch's as is needed."""


class Part:
    """A module that holds others."""

    def __init__(self, **parts: Any) -> None:
        vars(self).update(parts)

    def named_modules(self) -> Any:
        yield "", self
        for name, part in vars(self).items():
            for path, inner in part.named_modules() if isinstance(part, Part) else [("", part)]:
                yield f"{name}.{path}".removesuffix("."), inner

    def get_submodule(self, path: str) -> Any:
        return vars(self)[path] if path else self


def test_every_linear_of_the_connector_is_one_of_vllms(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lora_linear, "replicated", lambda layer: ("replicated", layer))
    key, dense, projection = Linear(), Linear(), Linear()
    norm = object()

    class Model:
        def __init__(self, *, vllm_config: Any, prefix: str = "") -> None:
            self.qformer = Part(attention=Part(key=key, norm=norm), dense=dense)
            self.language_projection = projection

    (patch,) = (one for one in blip2.PATCHES if one.id == "blip2-connector-layers")
    wrapped: Any = patch.wraps[f"{blip2.CLASS}.__init__"](Model.__init__)
    model: Any = object.__new__(Model)
    wrapped(model, vllm_config=None)
    assert model.qformer.attention.key == ("replicated", key)
    assert model.qformer.dense == ("replicated", dense)
    assert model.qformer.attention.norm is norm
    assert model.language_projection == ("replicated", projection)


@pytest.mark.parametrize(
    ("found", "names"),
    [
        ([], ()),
        (
            [
                Mismatch(f"blip-2 {LAYER}.crossattention.attention.key", "wrapper", TOWER, "x"),
                Mismatch(f"blip-2 257 {BUDGET}", "the count hook", "two", "AssertionError: …"),
            ],
            (CROSS_KEYS, WHOLE_BUDGETS),
        ),
        ([Mismatch(f"blip-2 257 {BUDGET}", "tower rows at least", 2056, 0)], ()),
        ([Mismatch("blip-2 1 pictures", "tower rows", 257, 256)], ()),
    ],
)
def test_the_hooks_known_mistakes(found: list[Mismatch], names: tuple[str, ...]) -> None:
    assert FAMILY.predicted_rows(LAYOUT, found) == names


def test_the_ignored_qkv() -> None:
    qkv, other = "vision_model.encoder.layers.0.self_attn.qkv", "language_projection"
    assert tower_qkv.without_tower_qkv(None, Path(), {qkv: 1, other: 2}) == {other: 2}
    lost = Mismatch(f"{qkv}.lora_A.weight", "layers that use it", 1, "none")
    assert FAMILY.predicted_coverage([lost]) == (tower_qkv.IGNORED,)
    assert not FAMILY.predicted_coverage([lost, Mismatch(other, "layers that use it", 1, "none")])


def test_texts_are_the_language_models() -> None:
    class Model:
        def forward(self, **given: Any) -> Any:
            return SimpleNamespace(language_model_outputs=("both", given))

        def language_model(self, **given: Any) -> Any:
            return "text", given

    model: Any = Model()
    SIDE.prepare(model)
    assert model.forward(input_ids=1) == ("text", {"input_ids": 1})
    assert model.forward(input_ids=1, pixel_values=2) == (
        "both",
        {"input_ids": 1, "pixel_values": 2},
    )


@pytest.mark.parametrize(
    ("name", "norm"),
    [
        (f"{LAYER}.output_query.LayerNorm.weight", True),
        (f"{LAYER}.output_query.LayerNorm.bias", False),
        ("vision_model.encoder.layers.0.layer_norm1.weight", True),
        ("qformer.layernorm.weight", True),
        ("vision_model.encoder.layers.0.self_attn.qkv.bias", False),
    ],
)
def test_norms(name: str, norm: bool) -> None:
    assert SIDE.is_norm(name, (64,)) is norm
