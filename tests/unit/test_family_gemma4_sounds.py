"""Gemma 4 as it hears: frames, rows, bad lengths, groups, and what its patches do."""

import json
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
from family_paths import require_path
from hypothesis import given
from hypothesis import strategies as st

from mm_lora.core.asking import Picture, Sound
from mm_lora.core.errors import UsageError
from mm_lora.families import registry
from mm_lora.families.gemma4_sounds.layout import Layout, layout_of, rows
from mm_lora.families.models import resolve
from mm_lora.inside.families.gemma4 import shared_keys, sounds

FAMILY = registry.family("gemma4-sounds")
MODEL = resolve("gemma4-sounds")
LAYOUT: Layout = MODEL.layout
lengths = st.integers(161, 600_000)


@given(lengths)
def test_frames_lie_wholly_in_a_sound(samples: int) -> None:
    frames = LAYOUT.frames(samples, 16000)
    heard = min(samples, 480_000)
    # The first begins 160 samples before the sound; each has 321.
    assert (frames - 1) * 160 - 160 + 321 <= heard < frames * 160 - 160 + 321
    assert rows(frames) == -(-frames // 4)


@given(lengths, lengths)
def test_longer_sounds_never_have_fewer_rows(one: int, other: int) -> None:
    short, long = sorted((one, other))
    assert rows(LAYOUT.frames(short, 16000)) <= rows(LAYOUT.frames(long, 16000)) <= 750


@pytest.mark.parametrize(
    ("samples", "expected"),
    [(161, 1), (640, 1), (641, 1), (800, 1), (801, 2), (16000, 25), (480_000, 750), (999_999, 750)],
)
def test_known_numbers(samples: int, expected: int) -> None:
    flow = FAMILY.flow(LAYOUT, Sound(samples=samples))
    assert (flow.tokens, flow.prompt_tokens, flow.rows["connector"]) == (
        expected,
        expected + 2,
        expected,
    )


@pytest.mark.parametrize("medium", [Sound(samples=160), Sound(samples=9000, rate=8000)])
def test_wrong_sounds_are_refused(medium: Sound) -> None:
    with pytest.raises(UsageError):
        FAMILY.flow(LAYOUT, medium)


def test_pictures_are_refused() -> None:
    with pytest.raises(UsageError, match="sounds alone"):
        FAMILY.flow(LAYOUT, Picture(width=100, height=100))


def test_a_model_that_does_not_hear_is_refused() -> None:
    with pytest.raises(UsageError, match="no audio_config"):
        layout_of(resolve("gemma4-31b").config, None)


def test_the_extractors_settings_are_read(tmp_path: Path) -> None:
    settings = {"feature_extractor": {"sampling_rate": 8000, "hop_length_ms": 20.0}}
    (tmp_path / "processor_config.json").write_text(json.dumps(settings), encoding="utf-8")
    layout = layout_of(MODEL.config, tmp_path)
    assert (layout.rate, layout.hop, layout.distances) == (8000, 160, 13)


def test_the_miniature_hears() -> None:
    config = FAMILY.miniature(MODEL.config, LAYOUT)
    audio = config["audio_config"]
    assert (audio["subsampling_conv_channels"][0], audio["attention_chunk_size"]) == (128, 12)
    assert FAMILY.layout(json.loads(json.dumps(config)), None) == LAYOUT


@pytest.mark.parametrize(
    ("path", "group", "layer"),
    [
        ("layers.1.self_attn.post.linear", "tower-attention", "layers.1.self_attn.post.linear"),
        (
            "layers.11.feed_forward2.ffw_layer_1.linear",
            "tower-feed-forward",
            "layers.11.feed_forward2.ffw_layer_1.linear",
        ),
        (
            "layers.0.lconv1d.linear_end.linear",
            "tower-convolution",
            "layers.0.lconv1d.linear_end.linear",
        ),
        (
            "layers.0.self_attn.relative_k_proj",
            "relative-keys",
            "layers.0.self_attn.relative_k_proj",
        ),
        ("output_proj", "output-projection", "output_proj"),
    ],
)
def test_groups_and_names(path: str, group: str, layer: str) -> None:
    require_path(FAMILY, f"model.audio_tower.{path}", group, f"audio_tower.{layer}")


def test_distances_are_seen_once() -> None:
    flows = [FAMILY.flow(LAYOUT, Sound(samples=n)) for n in (20000, 45000)]
    assert FAMILY.calls(flows, "encoder") == [[(0, 31), (1, 71)]]
    assert FAMILY.calls(flows, "distances") == [[(0, 13)]]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("frames-counted", (124, 31)),
        ("one-halving-forgotten", (62, 31)),
        ("projector-halved", (31, 15)),
    ],
)
def test_the_miscounts(name: str, expected: tuple[int, int]) -> None:
    class Gemma4ForConditionalGeneration:
        def get_mm_lora_token_counts(self, **given: Any) -> tuple[int, int]:
            return given["num_mm_embeds"], given["num_mm_embeds"]

    (patch,) = (one for one in sounds.PATCHES if one.id == f"mutant-gemma4-sounds-{name}")
    module = ModuleType("gemma4_mm")
    module.Gemma4ForConditionalGeneration = (  # type: ignore[attr-defined]
        Gemma4ForConditionalGeneration
    )
    patch.apply(module)
    model = module.Gemma4ForConditionalGeneration()
    assert model.get_mm_lora_token_counts(num_mm_embeds=31) == expected


def test_only_layers_of_sounds_are_given_their_own_rows() -> None:
    layers = {name: SimpleNamespace(lora_a_stacked=()) for name in ("q_proj", sounds.SHARED)}
    part = SimpleNamespace(named_modules=lambda: [("", object()), *layers.items()])
    assert list(sounds.adapted(part)) == [layers["q_proj"]]
    assert [sounds.rows_of(frames) for frames in (1, 4, 5, 124)] == [1, 1, 2, 31]


@pytest.mark.parametrize(("same", "expected"), [(True, [("l.5.k", "l.5.v")]), (False, [])])
def test_values_that_are_keys(same: bool, expected: list[tuple[str, str]]) -> None:
    text = SimpleNamespace(
        attention_k_eq_v=same, layer_types=["sliding_attention"] * 5 + ["full_attention"]
    )
    packed = {
        f"l.{at}.self_attn.qkv_proj": [f"l.{at}.{part}" for part in "qkv"] for at in (0, 5)
    } | {"l.5.mlp.gate_up_proj": ["g", "u"]}
    assert list(shared_keys.sharing(text, packed)) == expected
