"""`mm-lora tokens`: the JSON that others read, the table, the drawing, refusals."""

import json
from pathlib import Path

import pytest

from mm_lora.cli.commands import tokens
from mm_lora.core.errors import UsageError
from mm_lora.families import sizes
from mm_lora.families.models import resolve
from mm_lora.families.tokens import DEFAULT_SOUNDS


def test_json_is_the_documented_schema(capsys: pytest.CaptureFixture[str]) -> None:
    assert tokens.run("scout", ["336x336", "700x400"], as_json=True) == 0
    said = json.loads(capsys.readouterr().out)
    assert said["schema"] == 1
    (model,) = said["models"]
    assert set(model) == {"model", "source", "geometry", "pictures"}
    assert model["model"] == "scout"
    assert model["geometry"] == {
        "image_size": 336,
        "patch_size": 14,
        "pixel_shuffle_ratio": 0.5,
        "max_chunks": 16,
    }
    assert model["pictures"][1] == {
        "width": 700,
        "height": 400,
        "tile_rows": 2,
        "tile_columns": 3,
        "chunks": 7,
        "patch_rows": 4032,
        "encoder_rows": 4039,
        "connector_rows": 1008,
        "image_tokens": 1008,
        "prompt_tokens": 1017,
    }


def test_table_shows_every_number_and_the_tiling(capsys: pytest.CaptureFixture[str]) -> None:
    assert tokens.run("scout", ["700x400"], as_json=False) == 0
    out = capsys.readouterr().out
    for number in ("700×400", "4032", "4039", "1008", "1017", "G"):
        assert number in out


def test_default_pictures(capsys: pytest.CaptureFixture[str]) -> None:
    assert tokens.run("maverick", [], as_json=True) == 0
    (model,) = json.loads(capsys.readouterr().out)["models"]
    assert [p["chunks"] for p in model["pictures"]] == [1, 7, 17, 17]


@pytest.mark.parametrize("named", ["folder", "file"])
def test_a_config_never_seen(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], named: str
) -> None:
    config = {"model_type": "llama4", "vision_config": {"image_size": 224, "patch_size": 28}}
    (tmp_path / "config.json").write_text(json.dumps(config), encoding="utf-8")
    path = tmp_path if named == "folder" else tmp_path / "config.json"
    assert tokens.run(str(path), ["448x224"], as_json=True) == 0
    (model,) = json.loads(capsys.readouterr().out)["models"]
    assert model["geometry"]["image_size"] == 224
    assert model["pictures"][0]["chunks"] == 3
    assert model["pictures"][0]["encoder_rows"] == 3 * 65


def test_the_class_defaults_are_called_unpublished(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = {"model_type": "llama4", "vision_config": {}}
    (tmp_path / "config.json").write_text(json.dumps(config), encoding="utf-8")
    tokens.run(str(tmp_path), ["448x448"], as_json=True)
    (model,) = json.loads(capsys.readouterr().out)["models"]
    assert "unpublished" in model["source"]
    assert model["pictures"][0]["encoder_rows"] == 1025


@pytest.mark.parametrize("image", ["", "700", "700x", "x400", "0x400", "700x-4", "7.5x4", "axb"])
def test_wrong_sizes_are_refused(image: str) -> None:
    with pytest.raises(UsageError, match="is not a picture size"):
        sizes.parse_size(image)


def test_sizes() -> None:
    assert sizes.parse_size("700x400") == sizes.parse_size("700×400") == (700, 400)
    assert sizes.parse_size("700X400") == (700, 400)


def test_drawing() -> None:
    scout = resolve("scout")
    assert scout.family.flow(scout.layout, sizes.picture("700x400")).drawing.splitlines() == [
        "┌──┬──┬──┐  ┌──┐",
        "│1 │2 │3 │  │G │",
        "├──┼──┼──┤  └──┘",
        "│4 │5 │6 │",
        "└──┴──┴──┘",
    ]
    assert "G" not in scout.family.flow(scout.layout, sizes.picture("336x336")).drawing


def test_videos_beside_pictures(capsys: pytest.CaptureFixture[str]) -> None:
    assert tokens.run("qwen3-vl", ["400x300"], True, ["5x112x112"]) == 0
    (model,) = json.loads(capsys.readouterr().out)["models"]
    assert len(model["pictures"]) == 1
    (video,) = model["videos"]
    assert (video["grid_frames"], video["patch_rows"], video["prompt_tokens"]) == (3, 192, 56)


def test_a_video_alone_asks_about_no_picture(capsys: pytest.CaptureFixture[str]) -> None:
    assert tokens.run("qwen2.5-vl", [], True, ["4×112×112"]) == 0
    (model,) = json.loads(capsys.readouterr().out)["models"]
    assert model["pictures"] == []
    assert tokens.run("qwen2.5-vl", ["400x300"], False, ["4x112x112"]) == 0
    assert "4×112×112" in capsys.readouterr().out


@pytest.mark.parametrize("video", ["", "112x112", "4x112", "4x0x112", "ax112x112"])
def test_wrong_videos_are_refused(video: str) -> None:
    with pytest.raises(UsageError, match="is not a video's size"):
        tokens.run("qwen2.5-vl", [], True, [video])


def test_a_video_without_frames_is_refused() -> None:
    with pytest.raises(UsageError, match="a video of 0 frames"):
        tokens.run("qwen2.5-vl", [], True, ["0x112x112"])


def test_a_family_without_videos_says_so() -> None:
    with pytest.raises(UsageError, match="scout takes no videos"):
        tokens.run("scout", [], True, ["4x112x112"])


def test_sounds_where_no_pictures_are_taken(capsys: pytest.CaptureFixture[str]) -> None:
    assert tokens.run("qwen3-asr", [], True, sounds=["20000", "16000x16000"]) == 0
    (model,) = json.loads(capsys.readouterr().out)["models"]
    assert model["pictures"] == []
    assert [sound["encoder_rows"] for sound in model["sounds"]] == [17, 13]
    assert tokens.run("qwen3-asr", [], True) == 0
    (model,) = json.loads(capsys.readouterr().out)["models"]
    assert len(model["sounds"]) == len(DEFAULT_SOUNDS)


@pytest.mark.parametrize("sound", ["", "0", "1x2x3", "16kHz"])
def test_wrong_sounds_are_refused(sound: str) -> None:
    with pytest.raises(UsageError, match="is not a sound's length"):
        tokens.run("qwen3-asr", [], True, sounds=[sound])


def test_a_family_without_sounds_or_pictures_says_so() -> None:
    with pytest.raises(UsageError, match="scout takes no sounds"):
        tokens.run("scout", [], True, sounds=["16000"])
    with pytest.raises(UsageError, match="qwen3-asr takes no pictures"):
        tokens.run("qwen3-asr", ["64x64"], True)
