"""The image processor's settings in a model folder, for every family."""

import json
from pathlib import Path
from typing import Any

import pytest

from mm_lora.core.errors import UsageError
from mm_lora.families import registry
from mm_lora.families.image_processor import NAMES, VIDEO_NAME, stored_settings
from mm_lora.families.models import resolve

FAMILIES = list(registry.families().values())


def test_both_files_in_their_order(tmp_path: Path) -> None:
    (tmp_path / NAMES[1]).write_text('{"image_processor": {"size": 2}}', encoding="utf-8")
    (tmp_path / NAMES[0]).write_text('{"size": 1}', encoding="utf-8")
    first, second = stored_settings(tmp_path)
    assert first == ({"size": 1}, {})
    assert second[1] == {"size": 2}


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.name)
def test_no_object_counts_as_no_file(family: registry.Family, tmp_path: Path) -> None:
    config = resolve(family.published[0]).config
    without = family.layout(config, tmp_path)
    (tmp_path / NAMES[0]).write_text("[]", encoding="utf-8")
    assert family.layout(config, tmp_path) == without


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.name)
def test_no_json_is_refused_by_name(family: registry.Family, tmp_path: Path) -> None:
    (tmp_path / NAMES[0]).write_text("{", encoding="utf-8")
    with pytest.raises(UsageError, match=NAMES[0]):
        family.layout(resolve(family.published[0]).config, tmp_path)


@pytest.mark.parametrize(
    ("model", "name", "settings", "said"),
    [
        ("scout", NAMES[0], {"size": {"height": 448, "width": 448}}, "size.height is 448"),
        ("qwen2-vl", NAMES[0], {"patch_size": 16, "max_pixels": 10**6}, "patch_size is 16"),
        ("qwen2.5-vl", NAMES[1], {"image_processor": {"merge_size": 4}}, "merge_size is 4"),
        ("qwen3-vl", VIDEO_NAME, {"temporal_patch_size": 1}, "temporal_patch_size is 1"),
        ("smolvlm", NAMES[0], {"max_image_size": {"longest_edge": 5}, "size": {}}, "tiles of 5"),
        ("llava", NAMES[0], {"crop_size": 224}, "pictures of 224"),
    ],
)
def test_what_contradicts_the_config_is_refused(
    tmp_path: Path, model: str, name: str, settings: dict[str, Any], said: str
) -> None:
    (tmp_path / name).write_text(json.dumps(settings), encoding="utf-8")
    (tmp_path / "config.json").write_text(json.dumps(resolve(model).config), encoding="utf-8")
    with pytest.raises(UsageError, match=said):
        resolve(str(tmp_path))


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.name)
def test_a_miniatures_own_files_agree(family: registry.Family, tmp_path: Path) -> None:
    model = resolve(family.published[0])
    for name, content in family.side_files(model.layout).items():
        text = content if isinstance(content, str) else json.dumps(content)
        (tmp_path / name).write_text(text, encoding="utf-8")
    assert family.layout(model.config, tmp_path) == model.layout
