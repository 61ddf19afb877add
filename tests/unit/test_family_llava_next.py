"""LLaVA-NeXT: tiles and unpadding, names, what fills up, the fix of the hook and its miscounts."""

import json
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mm_lora.checks.mismatch import Mismatch
from mm_lora.core.asking import Picture
from mm_lora.core.errors import UsageError
from mm_lora.families import registry
from mm_lora.families.llava_next.family import SHORT_BUFFERS
from mm_lora.families.llava_next.layout import Layout
from mm_lora.families.llava_next.torch_side import SIDE
from mm_lora.families.models import resolve
from mm_lora.inside.families.llava_next import hooks

FAMILY: Any = registry.family("llava-next")
LAYOUT: Layout = resolve("llava-next").layout
CLASS = "LlavaNextForConditionalGeneration"
sides = st.integers(1, 12_000)


def flow(width: int, height: int) -> Any:
    return FAMILY.flow(LAYOUT, Picture(width=width, height=height))


@pytest.mark.parametrize(
    ("size", "tiling", "tokens"),
    [
        # By transformers 5.19.
        ((1, 1), (1, 2), 1176),
        ((336, 60), (1, 2), 968),
        ((672, 336), (1, 2), 1752),
        ((673, 336), (1, 3), 1752),
        ((700, 360), (2, 2), 1752),
        ((672, 671), (2, 2), 2928),
        ((336, 1008), (3, 1), 2376),
        ((1008, 336), (1, 3), 2328),
        ((1000, 3), (1, 3), 576),
        ((3, 1000), (3, 1), 648),
        ((5000, 3001), (2, 2), 1948),
    ],
)
def test_known_pictures(size: tuple[int, int], tiling: tuple[int, int], tokens: int) -> None:
    found = flow(*size)
    tiles = tiling[0] * tiling[1] + 1
    assert (found.details["tile_rows"], found.details["tile_columns"]) == tiling
    assert found.rows == {"encoder": 577 * tiles, "connector": 576 * tiles}
    assert (found.tokens, found.prompt_tokens) == (tokens, tokens)
    assert found.units == found.details["tiles"] == tiles


@pytest.mark.parametrize("known", FAMILY.known_flows)
def test_what_others_state(known: Any) -> None:
    assert flow(known.width, known.height).as_json()[known.quantity] == known.value


@given(sides, sides)
def test_any_picture(width: int, height: int) -> None:
    rows, columns = LAYOUT.tiling(width, height)
    assert (rows * 336, columns * 336) in LAYOUT.pinpoints
    high, wide = LAYOUT.unpadded(width, height)
    # One side of the canvas is filled; what is left of the other has the picture's shape.
    whole_high, whole_wide = rows * LAYOUT.side, columns * LAYOUT.side
    assert high == whole_high or wide == whole_wide
    assert (whole_high - high) % 2 == (whole_wide - wide) % 2 == 0
    assert high - 2 < height * whole_wide / width
    assert wide - 2 < width * whole_high / height
    found = flow(width, height)
    assert 576 <= found.tokens == 576 + high * (wide + 1)
    assert found.units <= LAYOUT.most_tiles == 5
    assert found.rows["encoder"] - found.rows["connector"] == found.units


def test_a_request_fills_up_to_its_largest_picture() -> None:
    alone = [flow(*size) for size in ((336, 60), (700, 360), (1000, 3))]
    together = FAMILY.together(LAYOUT, alone)
    assert [one.units for one in alone] == [3, 5, 4]
    assert [one.rows["encoder"] for one in together] == [5 * 577] * 3
    assert [one.tokens for one in together] == [one.tokens for one in alone]
    assert FAMILY.together(LAYOUT, alone[:1])[0].rows == alone[0].rows
    assert list(FAMILY.together(LAYOUT, [])) == []


@pytest.mark.parametrize(
    "wrong",
    [
        {"pinpoints": ()},
        {"pinpoints": ((336, 700),)},
        {"pinpoints": ((0, 336),)},
        {"drops_first": False},
        {"class_token": False},
    ],
)
def test_impossible_layouts(wrong: dict[str, Any]) -> None:
    right = {
        "image_size": 336,
        "patch_size": 14,
        "class_token": True,
        "drops_first": True,
        "pinpoints": ((336, 672),),
    }
    Layout(**right)  # type: ignore[arg-type]
    with pytest.raises(UsageError):
        Layout(**{**right, **wrong})


@pytest.mark.parametrize("stored", [7, [[336]], [[336, 672.0]], ["ab"]])
def test_pinpoints_that_are_none(stored: Any) -> None:
    config = {**resolve("llava-next").config, "image_grid_pinpoints": stored}
    with pytest.raises(UsageError, match="image_grid_pinpoints"):
        FAMILY.layout(config, None)


def test_a_processor_that_says_otherwise(tmp_path: Path) -> None:
    file, config = tmp_path / "preprocessor_config.json", resolve("llava-next").config
    settings = FAMILY.picture_settings(LAYOUT)
    file.write_text(json.dumps(settings), encoding="utf-8")
    assert FAMILY.layout(config, tmp_path) == LAYOUT
    settings["image_grid_pinpoints"] = [[336, 336]]
    file.write_text(json.dumps(settings), encoding="utf-8")
    with pytest.raises(UsageError, match="pinpoints"):
        FAMILY.layout(config, tmp_path)


def test_the_miniature_has_the_published_vision() -> None:
    model = resolve("llava-next-34b")
    small = FAMILY.miniature(model.config, model.layout)
    assert small["architectures"] == [CLASS]
    assert small["image_grid_pinpoints"] == model.config["image_grid_pinpoints"]
    assert FAMILY.layout(json.loads(json.dumps(small)), None) == model.layout


def test_what_is_asked() -> None:
    questions = FAMILY.questions(LAYOUT)
    asked = {prompt[0].seen_size for prompt in questions if len(prompt) == 1}
    assert len(asked) >= 14
    assert {flow(*size).units for size in asked} == {3, 4, 5}
    assert max(map(len, questions)) == FAMILY.limits["image"]
    # Other checks put these in one request after one of them was encoded alone.
    sizes = FAMILY.sizes
    assert {flow(*size).units for size in (sizes.one, sizes.few, *sizes.small)} == {3}
    assert flow(*sizes.many).units == 5


def test_names_in_files_are_the_older_ones() -> None:
    own = "model.vision_tower.encoder.layers.0.self_attn.q_proj"
    assert SIDE.saved_names(own) == "model.vision_tower.vision_model.encoder" + own[26:]
    assert SIDE.saved_names("model.image_newline") == "model.image_newline"


@pytest.mark.parametrize(
    ("found", "explained"),
    [
        ([], False),
        ([("m 2928 placeholders of any pictures", "tower rows at least", 11540, 2928)], True),
        ([("m 2928 placeholders of any pictures", "tower rows at least", 11540, 928)], False),
        ([("m 336×60", "tower rows", 1731, 968)], False),
    ],
)
def test_only_short_buffers_are_predicted(found: list[Any], explained: bool) -> None:
    seen = [Mismatch(*one) for one in found]
    assert FAMILY.predicted_rows(LAYOUT, seen) == ((SHORT_BUFFERS,) if explained else ())


def patched(patch_id: str) -> Any:
    """A stand-in for the class in vLLM, whose hook is right but for the buffers."""
    config = resolve("llava-next").config

    class Owner:
        def __init__(self) -> None:
            self.config = SimpleNamespace(
                **{**config, "vision_config": SimpleNamespace(**config["vision_config"])}
            )

        def get_mm_lora_token_counts(self, **given: Any) -> tuple[int, int]:
            tiles = given["mm_kwargs"]
            tokens = given["num_mm_embeds"]
            return (577 * tiles, 576 * tiles) if tiles else (tokens, tokens)

    (patch,) = (one for one in hooks.PATCHES if one.id == patch_id)
    module = ModuleType("llava_next")
    setattr(module, CLASS, Owner)
    patch.apply(module)
    return getattr(module, CLASS)()


@pytest.mark.parametrize(
    ("patch", "tiles", "rows"),
    [
        ("llava-next-room-for-tiles", 3, (1731, 1728)),
        ("mutant-llava-next-whole-picture-lost", 3, (1154, 1152)),
        ("mutant-llava-next-class-tokens-lost", 3, (1728, 1728)),
        ("mutant-llava-next-placeholders-counted", 3, (1731, 968)),
    ],
)
def test_the_hooks_fix_and_its_miscounts(patch: str, tiles: int, rows: tuple[int, int]) -> None:
    model = patched(patch)
    assert model.get_mm_lora_token_counts(mm_kwargs=tiles, num_mm_embeds=968) == rows


def test_the_fixed_buffers_have_room() -> None:
    model = patched("llava-next-room-for-tiles")
    budgets = [case for case in FAMILY.hook_cases(LAYOUT) if case.least]
    assert len(budgets) == 3
    for case in budgets:
        tower, connector = model.get_mm_lora_token_counts(mm_kwargs=None, num_mm_embeds=case.tokens)
        assert tower >= case.tower
        assert connector >= case.connector
    assert model.get_mm_lora_token_counts(mm_kwargs=None, num_mm_embeds=0) == (0, 0)
