"""Ultravox: arithmetic of chunks, names, files beside the weights, fixes and seeded miscounts."""

import dataclasses
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mm_lora.checks.mismatch import Mismatch
from mm_lora.core.asking import Picture, Sound
from mm_lora.core.errors import UsageError
from mm_lora.families import registry
from mm_lora.families.models import resolve
from mm_lora.families.ultravox.family import BUDGET, MLP_IGNORED, SHORT_BUFFERS
from mm_lora.families.ultravox.layout import Layout
from mm_lora.families.ultravox.miniature import PROCESSING
from mm_lora.inside.families import ultravox as hooks

FAMILY = registry.family("ultravox")
MODEL = resolve("ultravox")
LAYOUT: Layout = MODEL.layout
samples = st.integers(1, 4_000_000)


@given(samples)
def test_any_sound(length: int) -> None:
    # Half a minute is 3000 frames, 1500 positions, 188 rows: the authors' numbers.
    flow = FAMILY.flow(LAYOUT, Sound(samples=length, rate=16000))
    frames = max(-(-length // 160), 2)
    assert flow.details["frames"] == frames
    assert (flow.rows["encoder"], flow.rows["connector"]) == (1500 * flow.units, 188 * flow.units)
    assert 3000 * (flow.units - 1) < frames <= 3000 * flow.units
    assert 188 * (flow.units - 1) < flow.tokens <= flow.rows["connector"]
    assert frames <= 16 * flow.tokens < frames + 16 + 8 * flow.units


@given(samples, samples)
def test_a_longer_sound_has_no_fewer_rows(first: int, second: int) -> None:
    short, long = (
        FAMILY.flow(LAYOUT, Sound(samples=n, rate=16000)) for n in sorted((first, second))
    )
    assert short.tokens <= long.tokens
    assert short.units <= long.units


@given(st.integers(1, 40), st.integers(1, 12), st.integers(1, 2000))
def test_any_layout(positions: int, stack: int, frames: int) -> None:
    layout = Layout(positions=positions, stack=stack)
    # Frame by frame: those of a chunk, two a position, some a row.
    rows = sum(
        len({place // 2 // stack for place in range(min(2 * positions, frames - start))})
        for start in range(0, frames, 2 * positions)
    )
    assert layout.tokens(frames) == rows
    assert layout.chunks(frames) == len(range(0, frames, 2 * positions))


@pytest.mark.parametrize("known", FAMILY.known_flows)
def test_what_others_state(known: Any) -> None:
    flow = FAMILY.flow(LAYOUT, Sound(samples=known.width, rate=known.height))
    assert flow.as_json()[known.quantity] == known.value


@pytest.mark.parametrize("wrong", [{"positions": 0}, {"stack": True}, {"rate": -1}, {"hop": 1.5}])
def test_impossible_layouts(wrong: dict[str, Any]) -> None:
    with pytest.raises(UsageError):
        Layout(**{"positions": 1500, "stack": 8, **wrong})


def test_bad_media() -> None:
    for medium in (
        Picture(width=10, height=10),
        Sound(samples=1, rate=8000),
        Sound(samples=0, rate=16000),
    ):
        with pytest.raises(UsageError):
            FAMILY.flow(LAYOUT, medium)


@pytest.mark.parametrize(
    "changed",
    [
        {"audio_config": None},
        {"text_config": {"model_type": "gemma3"}},
        {"num_projector_layers": 2},
    ],
)
def test_configs_that_are_not_known(changed: dict[str, Any]) -> None:
    with pytest.raises(UsageError):
        FAMILY.miniature({**MODEL.config, **changed}, LAYOUT)


def test_the_miniature_keeps_chunks_and_brings_its_processor(tmp_path: Path) -> None:
    small = json.loads(json.dumps(FAMILY.miniature(MODEL.config, LAYOUT)))
    assert small["audio_config"]["max_source_positions"] == 1500
    assert small["audio_config"]["num_mel_bins"] == 128
    assert (small["stack_factor"], small["projector_ln_mid"]) == (8, True)
    assert small["text_config"]["rope_scaling"]["rope_type"] == "llama3"
    files = FAMILY.side_files(LAYOUT)
    assert "class UltravoxProcessor" in files[PROCESSING]
    (tmp_path / "preprocessor_config.json").write_text(
        json.dumps(files["preprocessor_config.json"]), encoding="utf-8"
    )
    assert FAMILY.layout(small, tmp_path) == LAYOUT
    assert files["preprocessor_config.json"]["chunk_length"] == 30


@pytest.mark.parametrize(
    ("path", "layer"),
    [
        (
            "audio_tower.layers.3.self_attn.k_proj",
            "audio_tower.layers.3.self_attn.qkv_proj",
        ),
        ("audio_tower.layers.3.fc1", "audio_tower.layers.3.mlp.fc1"),
        ("multi_modal_projector.linear_2", "multi_modal_projector.linear_2"),
        (
            "language_model.model.layers.0.mlp.gate_proj",
            "language_model.model.layers.0.mlp.gate_up_proj",
        ),
    ],
)
def test_names_in_vllm(path: str, layer: str) -> None:
    assert FAMILY.layer_of(path) == layer
    assert FAMILY.from_vllm(FAMILY.to_vllm(path)) == path


@pytest.mark.parametrize(
    ("where", "predicted"),
    [("audio_tower.layers.0.fc2", True), ("audio_tower.layers.0.self_attn.q_proj", False)],
)
def test_what_the_predictor_explains(where: str, predicted: bool) -> None:
    found = [Mismatch(where=where, what="layers that use it", expected="1", observed="none")]
    assert FAMILY.predicted_coverage(found) == ((MLP_IGNORED,) if predicted else ())
    assert FAMILY.predicted_coverage([]) == ()


@pytest.mark.parametrize(
    ("where", "what", "rows", "predicted"),
    [
        (BUDGET, "tower rows at least", 33000, True),
        (BUDGET, "connector rows at least", 22 * 188, True),
        (BUDGET, "tower rows at least", 33001, False),
        ("188 audio tokens", "tower rows", 3000, False),
    ],
)
def test_what_explains_short_buffers(where: str, what: str, rows: int, predicted: bool) -> None:
    found = [
        Mismatch(where=f"ultravox 4096 {where}", what=what, expected=10**6, observed=rows),
    ]
    assert FAMILY.predicted_rows(LAYOUT, found) == ((SHORT_BUFFERS,) if predicted else ())
    assert FAMILY.predicted_rows(LAYOUT, []) == ()


@dataclasses.dataclass(frozen=True)
class Mapper:
    """vLLM's WeightsMapper."""

    orig_to_new_substr: dict[str, str]


def test_the_fix_renames_once() -> None:
    module: Any = SimpleNamespace(
        UltravoxModel=SimpleNamespace(hf_to_vllm_mapper=Mapper({})),
        _WHISPER_ENCODER_MAPPER=Mapper({".fc1.": ".mlp.fc1."}),
    )
    patch = next(one for one in hooks.PATCHES if one.id == "ultravox-tower-mlp-names")
    assert patch.adds is not None
    patch.adds(module)
    assert module.UltravoxModel.hf_to_vllm_mapper == Mapper({".fc1.": ".mlp.fc1."})
    assert Mapper({}) == module._WHISPER_ENCODER_MAPPER


def test_the_fix_has_room_for_short_sounds() -> None:
    patch = next(one for one in hooks.PATCHES if one.id == "ultravox-room-for-short-sounds")

    def original(model: Any, **given: Any) -> tuple[int, int]:
        chunks = -(-given["num_mm_embeds"] // 188)
        return chunks * 1500, chunks * 188

    mended = patch.wraps[hooks.COUNTS](original)
    for case in FAMILY.hook_cases(LAYOUT):
        kwargs = None if case.least else {}
        rows = mended(None, modality="audio", mm_kwargs=kwargs, num_mm_embeds=case.tokens)
        if case.least:
            assert original(None, num_mm_embeds=case.tokens)[0] < (case.tower or 0) <= rows[0]
        elif case.has_answer:
            assert rows == (case.tower, case.connector)


def test_seeded_miscounts() -> None:
    audio = SimpleNamespace(max_source_positions=1500)
    model = SimpleNamespace(config=SimpleNamespace(audio_config=audio, stack_factor=8))
    assert hooks.half_position_lost(model, 3000, 376) == (3000, 374)
    assert hooks.heard_alone(model, 3000, 376) == (2999, 376)
