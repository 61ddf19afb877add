"""The miniature: what is kept as published, what is small, and that its token ids agree."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from mm_lora.core.errors import UsageError
from mm_lora.families import registry
from mm_lora.families.llama4.geometry import Geometry
from mm_lora.families.models import Model, resolve
from mm_lora.families.torch_side import write_files
from mm_lora.families.vocabulary import vocabulary

LLAMA4 = registry.family("llama4")
KEPT_TEXT = (
    "num_local_experts",
    "num_experts_per_tok",
    "interleave_moe_layer_step",
    "use_qk_norm",
    "rope_scaling",
    "rope_theta",
    "attention_chunk_size",
    "attn_temperature_tuning",
    "rms_norm_eps",
)
KEPT_VISION = ("image_size", "patch_size", "pixel_shuffle_ratio", "num_channels", "rope_theta")


def miniature_config(model: Model) -> dict[str, Any]:
    return model.family.miniature(model.config, model.layout)


def side_files(model: Model) -> dict[str, Any]:
    return model.family.side_files(model.layout)


@pytest.mark.parametrize("name", LLAMA4.published)
def test_structure_is_as_published(name: str) -> None:
    model = resolve(name)
    small = miniature_config(model)
    for part, keys in (("text_config", KEPT_TEXT), ("vision_config", KEPT_VISION)):
        assert {k: small[part][k] for k in keys} == {k: model.config[part][k] for k in keys}
    assert Geometry.from_config(small) == model.layout
    assert model.config["text_config"]["hidden_size"] == 5120  # the published one is not touched


@pytest.mark.parametrize("name", LLAMA4.published)
def test_widths_fit_together(name: str) -> None:
    config = miniature_config(resolve(name))
    vision, text = config["vision_config"], config["text_config"]
    assert vision["intermediate_size"] == vision["hidden_size"] * 4  # what pixel shuffle stacks
    assert vision["projector_input_dim"] == vision["projector_output_dim"]
    assert vision["hidden_size"] % vision["num_attention_heads"] == 0
    assert text["num_attention_heads"] % text["num_key_value_heads"] == 0
    assert text["num_hidden_layers"] % text["interleave_moe_layer_step"] == 0
    assert text["hidden_size"] < 512


def test_every_token_id_is_of_the_vocabulary() -> None:
    model = resolve("scout")
    config, ids = miniature_config(model), vocabulary(LLAMA4.special_tokens)
    assert config["text_config"]["vocab_size"] == len(ids)
    assert config["image_token_index"] == ids["<|patch|>"]
    assert config["boi_token_index"] == ids["<|image_start|>"]
    assert config["eoi_token_index"] == ids["<|image_end|>"]
    generation = side_files(model)["generation_config.json"]
    for key in ("bos_token_id", "eos_token_id", "pad_token_id"):
        assert generation[key] == config["text_config"][key]
    assert ids["<|eot|>"] in generation["eos_token_id"]


def test_side_files_follow_the_geometry() -> None:
    files = side_files(replace(resolve("pr35147"), layout=Geometry(504, 14, 0.5, 9)))
    processor = files["preprocessor_config.json"]
    assert processor["size"] == {"height": 504, "width": 504}
    assert processor["max_patches"] == 9
    assert processor["resize_to_max_canvas"] is False
    assert processor["image_mean"] == processor["image_std"] == [0.5, 0.5, 0.5]
    json.dumps(files)


def test_lists_per_layer_are_shortened() -> None:
    scout = resolve("scout")
    text = {
        **scout.config["text_config"],
        "no_rope_layers": [1, 1, 1, 0] * 12,
        "layer_types": ["chunked_attention"] * 48,
        "moe_layers": list(range(48)),
        "torch_dtype": "bfloat16",
    }
    small = miniature_config(replace(scout, config={**scout.config, "text_config": text}))
    assert small["text_config"]["no_rope_layers"] == [1, 1, 1, 0]
    assert small["text_config"]["moe_layers"] == [0, 1, 2, 3]
    assert len(small["text_config"]["layer_types"]) == 4
    assert small["dtype"] == "float32"
    assert "torch_dtype" not in small["text_config"]


def test_config_without_text_part() -> None:
    scout = resolve("scout")
    config = {key: value for key, value in scout.config.items() if key != "text_config"}
    with pytest.raises(UsageError, match="no text_config"):
        miniature_config(replace(scout, config=config))


def test_a_side_file_is_text_or_json(tmp_path: Path) -> None:
    write_files(tmp_path, {"a": 1}, {"code.py": "x = 1\n", "other.json": [2]}, (), "template")
    assert (tmp_path / "code.py").read_text(encoding="utf-8") == "x = 1\n"
    assert json.loads((tmp_path / "other.json").read_text(encoding="utf-8")) == [2]
    assert json.loads((tmp_path / "config.json").read_text(encoding="utf-8")) == {"a": 1}
