"""Qwen3-ASR's arithmetic: windows, rows, markers, bad lengths, and the numbers of its patches."""

import json
import random
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace

import pytest

from mm_lora.checks.mismatch import Mismatch
from mm_lora.core.asking import Picture, Sound
from mm_lora.core.errors import UsageError
from mm_lora.families.models import resolve
from mm_lora.families.qwen3_asr.family import FAMILY, PADDED
from mm_lora.families.qwen3_asr.layout import Layout, halved, layout_of
from mm_lora.families.qwen3_asr.miniature import miniature_config
from mm_lora.inside.families.qwen3_asr import encoder, mutants
from mm_lora.inside.mutants.mapping import Mistake

PUBLISHED = Layout(half_window=50)
LENGTHS = [random.Random(1).randint(1, 600_000) for _ in range(200)]


def rows(samples: int) -> int:
    return PUBLISHED.rows(PUBLISHED.frames(samples, 16000))


@pytest.mark.parametrize(
    ("samples", "expected"),
    # Frames by 160, then ⌈r/8⌉ of what is left of a second, 13 of each whole one.
    [(1, 7), (8000, 7), (8159, 7), (8160, 7), (9120, 8), (16000, 13), (16160, 14), (20000, 17)],
)
def test_known_numbers(samples: int, expected: int) -> None:
    assert rows(samples) == expected


def test_a_window_is_rounded_up_by_itself() -> None:
    for samples in LENGTHS:
        frames = PUBLISHED.frames(samples, 16000)
        assert frames * 160 <= max(samples, 8000) < (frames + 1) * 160
        assert -(-frames // 8) <= PUBLISHED.rows(frames) <= 13 * PUBLISHED.windows(frames)
        assert PUBLISHED.rows(frames + 100) == PUBLISHED.rows(frames) + 13


def test_longer_sounds_never_have_fewer_rows() -> None:
    for shorter, longer in pairwise(sorted(LENGTHS)):
        assert rows(shorter) <= rows(longer)
    assert [halved(frames) for frames in range(10)] == [0, 1, 1, 1, 1, 1, 1, 1, 1, 2]


def test_flow_has_markers_around_the_rows() -> None:
    flow = FAMILY.flow(PUBLISHED, Sound(samples=105000))
    assert (flow.medium, flow.tokens, flow.prompt_tokens, flow.units) == ("audio", 85, 87, 7)
    assert flow.as_json() == {
        "samples": 105000,
        "rate": 16000,
        "frames": 656,
        "windows": 7,
        "encoder_rows": 85,
        "image_tokens": 85,
        "prompt_tokens": 87,
    }


@pytest.mark.parametrize("medium", [Sound(samples=0), Sound(samples=9, rate=8000)])
def test_wrong_sounds_are_refused(medium: Sound) -> None:
    with pytest.raises(UsageError):
        FAMILY.flow(PUBLISHED, medium)


def test_pictures_are_refused() -> None:
    with pytest.raises(UsageError, match="sounds alone"):
        FAMILY.flow(PUBLISHED, Picture(width=100, height=100))


@pytest.mark.parametrize("name", FAMILY.published)
def test_both_ways_of_writing_a_config_are_read(name: str) -> None:
    config = resolve(name).config
    assert layout_of(config, None) == layout_of(config["thinker_config"], None) == PUBLISHED
    small = miniature_config(config)
    assert layout_of(small, None) == PUBLISHED
    assert small["text_config"]["tie_word_embeddings"]


def test_a_config_without_parts_is_refused() -> None:
    with pytest.raises(UsageError, match="no audio_config"):
        layout_of({"model_type": "qwen3_asr", "thinker_config": {"text_config": {}}}, None)
    with pytest.raises(UsageError, match="half_window is 0"):
        layout_of({"audio_config": {"n_window": 0}, "text_config": {}}, None)


def test_an_extractor_that_contradicts_the_config_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "preprocessor_config.json"
    config = {"audio_config": {"n_window": 50}, "text_config": {}}
    file.write_text(json.dumps({"n_window": 50, "min_length": 0}))
    assert layout_of(config, tmp_path) == Layout(half_window=50, shortest=0)
    file.write_text(json.dumps({"n_window": 100}))
    with pytest.raises(UsageError, match="n_window is 100"):
        layout_of(config, tmp_path)


def test_the_fix_keeps_as_many_rows_as_the_arithmetic_says() -> None:
    frames = [PUBLISHED.frames(samples, 16000) for samples in LENGTHS[:20]]
    kept = encoder.kept(frames, PUBLISHED.window)
    assert len(kept) == sum(map(PUBLISHED.windows, frames))
    assert sum(kept) == sum(map(PUBLISHED.rows, frames))


@pytest.mark.parametrize(
    ("mistake", "said"),
    [(mutants.whole_windows, 91), (mutants.eighths, 79), (mutants.before_halving, 170)],
)
def test_each_mutant_counts_otherwise(mistake: Mistake, said: int) -> None:
    assert mistake(SimpleNamespace(), 85, None) == (said, None)


def test_only_padded_windows_are_predicted() -> None:
    def found(where: str, expected: int, observed: int) -> Mismatch:
        return Mismatch(where, "rows that it saw", expected, observed)

    padded = found("step 1 encoder audio_tower.conv_out", 17, 26)
    assert FAMILY.predicted_rows(PUBLISHED, [padded]) == (PADDED,)
    for other in (found("audio_tower.fc1", 17, 26), found("audio_tower.conv_out", 17, 25)):
        assert FAMILY.predicted_rows(PUBLISHED, [padded, other]) == ()
    assert FAMILY.predicted_rows(PUBLISHED, []) == ()
