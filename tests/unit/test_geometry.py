"""The arithmetic itself: known values, properties of any picture, impossible geometries."""

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mm_lora.core.errors import UsageError
from mm_lora.families.llama4.geometry import Geometry, token_flow

SCOUT = Geometry(336, 14, 0.5)
PULL_REQUEST = Geometry(504, 14, 0.5)
UNPUBLISHED = Geometry(448, 14, 0.5)

sides = st.integers(1, 12_000)
geometries = st.builds(
    lambda patch, shuffle, fold, most: Geometry(patch * shuffle * fold, patch, 1 / shuffle, most),
    st.integers(1, 20),
    st.integers(1, 6),
    st.integers(1, 12),
    st.integers(1, 20),
)


@pytest.mark.parametrize(
    ("geometry", "patch", "encoder", "connector"),
    [
        (SCOUT, 576, 577, 144),
        (PULL_REQUEST, 1296, 1297, 324),
        (UNPUBLISHED, 1024, 1025, 256),
    ],
)
def test_rows_of_one_chunk(geometry: Geometry, patch: int, encoder: int, connector: int) -> None:
    assert (geometry.patch_rows, geometry.encoder_rows, geometry.connector_rows) == (
        patch,
        encoder,
        connector,
    )


@pytest.mark.parametrize(
    ("geometry", "size", "tiling", "chunks", "patch", "encoder", "connector", "prompt"),
    [
        (SCOUT, (336, 336), (1, 1), 1, 576, 577, 144, 147),
        (SCOUT, (1, 1), (1, 1), 1, 576, 577, 144, 147),
        (SCOUT, (337, 336), (1, 2), 3, 1728, 1731, 432, 437),
        (SCOUT, (336, 337), (2, 1), 3, 1728, 1731, 432, 437),
        (SCOUT, (700, 400), (2, 3), 7, 4032, 4039, 1008, 1017),
        (SCOUT, (1344, 1344), (4, 4), 17, 9792, 9809, 2448, 2467),
        (SCOUT, (5376, 336), (1, 16), 17, 9792, 9809, 2448, 2467),
        (SCOUT, (336, 5376), (16, 1), 17, 9792, 9809, 2448, 2467),
        (PULL_REQUEST, (700, 400), (1, 2), 3, 3888, 3891, 972, 977),
    ],
)
def test_known_pictures(
    geometry: Geometry,
    size: tuple[int, int],
    tiling: tuple[int, int],
    chunks: int,
    patch: int,
    encoder: int,
    connector: int,
    prompt: int,
) -> None:
    flow = token_flow(geometry, *size)
    assert (flow.tile_rows, flow.tile_columns) == tiling
    assert (flow.chunks, flow.patch_rows, flow.encoder_rows) == (chunks, patch, encoder)
    assert flow.connector_rows == flow.image_tokens == connector
    assert flow.prompt_tokens == prompt


def test_two_pictures_add_up() -> None:
    """336×336 and 400×300 in one request were measured as 2308 encoder and 576 connector rows."""
    flows = [token_flow(SCOUT, 336, 336), token_flow(SCOUT, 400, 300)]
    assert sum(flow.encoder_rows for flow in flows) == 2308
    assert sum(flow.connector_rows for flow in flows) == 576


@given(geometries, sides, sides)
def test_rows_are_the_chunks_times_the_rows_of_one(
    geometry: Geometry, width: int, height: int
) -> None:
    flow = token_flow(geometry, width, height)
    tiles = flow.tile_rows * flow.tile_columns
    assert 1 <= tiles <= geometry.max_chunks
    assert flow.chunks == (1 if tiles == 1 else tiles + 1)
    assert flow.encoder_rows - flow.patch_rows == flow.chunks
    assert flow.patch_rows * geometry.pixel_shuffle_ratio**2 == pytest.approx(flow.connector_rows)
    markers = flow.prompt_tokens - flow.image_tokens
    assert markers == (3 if tiles == 1 else 3 + tiles)


@given(geometries, sides, sides)
def test_turning_the_picture_turns_the_tiling(geometry: Geometry, width: int, height: int) -> None:
    flow, turned = (
        token_flow(geometry, width, height),
        token_flow(geometry, height, width),
    )
    assert (flow.tile_rows, flow.tile_columns) == (
        turned.tile_columns,
        turned.tile_rows,
    )
    assert flow.prompt_tokens == turned.prompt_tokens


@given(
    geometries,
    st.integers(1, 20),
    st.integers(1, 20),
    st.integers(0, 10),
    st.integers(0, 10),
)
def test_a_picture_of_whole_tiles_is_cut_into_them(
    geometry: Geometry, rows: int, columns: int, less_wide: int, less_high: int
) -> None:
    if rows * columns > geometry.max_chunks:
        return
    width = max(
        (columns - 1) * geometry.image_size + 1,
        columns * geometry.image_size - less_wide,
    )
    height = max((rows - 1) * geometry.image_size + 1, rows * geometry.image_size - less_high)
    flow = token_flow(geometry, columns * geometry.image_size, rows * geometry.image_size)
    assert (flow.tile_rows, flow.tile_columns) == (rows, columns)
    smaller = token_flow(geometry, width, height)
    assert smaller.tile_rows * smaller.tile_columns <= geometry.max_chunks


@given(geometries, sides, sides)
def test_the_picture_is_held_whole_wherever_that_is_possible(
    geometry: Geometry, width: int, height: int
) -> None:
    needed = (
        math.ceil(height / geometry.image_size),
        math.ceil(width / geometry.image_size),
    )
    flow = token_flow(geometry, width, height)
    if needed[0] * needed[1] <= geometry.max_chunks:
        assert flow.tile_rows >= needed[0]
        assert flow.tile_columns >= needed[1]


@pytest.mark.parametrize(
    "numbers",
    [
        (337, 14, 0.5),
        (0, 14, 0.5),
        (-336, 14, 0.5),
        (336, 0, 0.5),
        (336, -14, 0.5),
        (336, 14, 0),
        (336, 14, -0.5),
        (336, 14, 2),
        (336, 14, 0.4),
        (336, 14, float("nan")),
        (336, 14, 1 / 5),
        (14, 14, 0.5),
        (336.0, 14, 0.5),
        ("336", 14, 0.5),
        (336, 14, "0.5"),
        (336, 14, None),
        (336, 14, True),
        (True, True, 1.0),
        (336, 14, 0.5, 0),
        (336, 14, 0.5, -1),
    ],
)
def test_impossible_geometries_are_refused(numbers: tuple[Any, ...]) -> None:
    with pytest.raises(UsageError):
        Geometry(*numbers)


@pytest.mark.parametrize("size", [(0, 1), (1, 0), (-336, 336), (336.0, 336), (True, 336)])
def test_impossible_pictures_are_refused(size: tuple[Any, Any]) -> None:
    with pytest.raises(UsageError):
        token_flow(SCOUT, *size)


def test_from_config() -> None:
    vision = {"image_size": 336, "patch_size": 14, "pixel_shuffle_ratio": 0.5}
    whole = {"model_type": "llama4", "vision_config": vision}
    assert Geometry.from_config(whole) == Geometry.from_config(vision) == SCOUT
    assert Geometry.from_config({"vision_config": {}}) == UNPUBLISHED
    assert Geometry.from_config(whole, max_chunks=4).max_chunks == 4


@pytest.mark.parametrize(
    "config",
    [
        {},
        {"model_type": "llama4"},
        {"model_type": "llama4", "vision_config": None},
        {"model_type": "qwen2_vl", "vision_config": {}},
        {"model_type": "llama4_text"},
    ],
)
def test_configs_without_a_llama4_tower_are_refused(config: dict[str, Any]) -> None:
    with pytest.raises(UsageError):
        Geometry.from_config(config)
