"""Models: published configs as data, the user's own config and folder, refusals."""

import json
from pathlib import Path
from typing import Any

import pytest

from mm_lora.core.errors import UsageError
from mm_lora.families import registry
from mm_lora.families.llama4.geometry import Geometry
from mm_lora.families.models import resolve

SCOUT = Geometry(336, 14, 0.5)


@pytest.mark.parametrize(
    ("name", "geometry", "experts", "step", "qk_norm"),
    [
        ("scout", SCOUT, 16, 1, True),
        ("maverick", SCOUT, 128, 2, False),
        ("pr35147", Geometry(504, 14, 0.5), 16, 1, True),
    ],
)
def test_published_numbers(
    name: str, geometry: Geometry, experts: int, step: int, qk_norm: bool
) -> None:
    model = resolve(name)
    text = model.config["text_config"]
    assert model.layout == geometry
    assert text["num_local_experts"] == experts
    assert text["interleave_moe_layer_step"] == step
    assert text["use_qk_norm"] is qk_norm
    assert (text["hidden_size"], text["num_hidden_layers"], text["head_dim"]) == (5120, 48, 128)
    assert (text["num_attention_heads"], text["num_key_value_heads"]) == (40, 8)
    assert (text["vocab_size"], text["attention_chunk_size"]) == (202048, 8192)
    assert (text["intermediate_size"], text["intermediate_size_mlp"]) == (8192, 16384)
    vision = model.config["vision_config"]
    assert (vision["hidden_size"], vision["num_hidden_layers"]) == (1408, 34)
    assert (vision["num_attention_heads"], vision["intermediate_size"]) == (16, 5632)
    widths = ("projector_input_dim", "projector_output_dim", "vision_output_dim")
    assert {vision[width] for width in widths} == {4096}
    tokens = ("image_token_index", "boi_token_index", "eoi_token_index")
    assert [model.config[token] for token in tokens] == [200092, 200080, 200081]
    assert model.source
    assert model.known
    assert model.path is None
    assert model.weights is None


def test_scout_rope_is_scaled_and_maverick_is_not() -> None:
    scaling = resolve("scout").config["text_config"]["rope_scaling"]
    assert (scaling["rope_type"], scaling["factor"]) == ("llama3", 16.0)
    assert resolve("maverick").config["text_config"]["rope_scaling"] is None


def test_the_pull_request_s_model_is_scout_but_for_its_image_size() -> None:
    ours, scout = (json.loads(json.dumps(resolve(name).config)) for name in ("pr35147", "scout"))
    assert ours["vision_config"].pop("image_size") == 504
    assert scout["vision_config"].pop("image_size") == 336
    assert ours == scout
    assert resolve("pr35147").source == "the pull request's; not seen in a published config"


def write_config(folder: Path, **vision: Any) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    config = {"model_type": "llama4", "vision_config": vision, "text_config": {}}
    (folder / "config.json").write_text(json.dumps(config))
    return folder


@pytest.mark.parametrize("as_file", [True, False])
def test_own_config(tmp_path: Path, as_file: bool) -> None:
    folder = write_config(tmp_path / "mine", image_size=448, patch_size=14, pixel_shuffle_ratio=0.5)
    (folder / "preprocessor_config.json").write_text('{"max_patches": 4}')
    model = resolve(str(folder / "config.json" if as_file else folder))
    assert model.name == "mine"
    assert model.layout == Geometry(448, 14, 0.5, 4)
    assert model.path == (None if as_file else folder)
    assert model.weights is None


def test_max_patches_may_be_nested(tmp_path: Path) -> None:
    folder = write_config(tmp_path, image_size=336)
    (folder / "processor_config.json").write_text('{"image_processor": {"max_patches": 9}}')
    assert resolve(str(folder)).layout.max_chunks == 9


def test_a_folder_with_weights_is_a_checkpoint(tmp_path: Path) -> None:
    folder = write_config(tmp_path / "mine", image_size=336)
    (folder / "model-00001-of-00002.safetensors").touch()
    assert resolve(str(folder)).weights == folder


@pytest.mark.parametrize("published", registry.published())
def test_a_folder_of_that_name_does_not_hide_a_published_model(
    published: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / published).mkdir()
    monkeypatch.chdir(tmp_path)
    assert resolve(published).path is None


def test_unknown_name_says_what_there_is() -> None:
    with pytest.raises(UsageError, match="no model 'skout'") as raised:
        resolve("skout")
    assert "maverick" in raised.value.check


@pytest.mark.parametrize("content", ["{", "[]", "\xff", '{"model_type": "llama"}'])
def test_what_is_no_llama4_config_is_refused(tmp_path: Path, content: str) -> None:
    file = tmp_path / "config.json"
    file.write_bytes(content.encode("latin-1"))
    with pytest.raises(UsageError, match=r"config\.json"):
        resolve(str(file))


def test_another_architecture_is_told_the_nearest(tmp_path: Path) -> None:
    file = tmp_path / "config.json"
    file.write_text('{"model_type": "llama"}')
    with pytest.raises(UsageError, match=r"'llama'; the nearest is Llama 4 \(llama4\)"):
        resolve(str(file))
    file.write_text('{"model_type": "zzz"}')
    with pytest.raises(UsageError, match=r"no family here supports .*'zzz'\n") as raised:
        resolve(str(file))
    assert "llama4" in raised.value.check


def test_a_familys_name_is_its_default_model() -> None:
    assert resolve("llama4") == resolve("scout")


def test_folder_without_config(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"has no config\.json"):
        resolve(str(tmp_path))
