"""The image processor's settings in a model folder, for every family."""

from pathlib import Path

import pytest

from mm_lora.core.errors import UsageError
from mm_lora.families import registry
from mm_lora.families.image_processor import NAMES, stored_settings
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
