"""Pictures: colours and pips are read back from the pixels; same parameters, same bytes."""

import io

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from mm_lora.core import images
from mm_lora.core.errors import UsageError

SIZES = [(336, 336), (700, 400), (64, 64), (48, 48), (50, 400), (504, 504), (1344, 1344)]
COLOURS = st.lists(st.sampled_from(sorted(images.COLOURS)), min_size=4, max_size=4)
PIPS = st.lists(st.integers(1, 6), min_size=4, max_size=4)


@pytest.mark.parametrize("size", SIZES)
def test_default_dice_read_back(size: tuple[int, int]) -> None:
    picture = images.draw("dice", size)
    assert picture.size == size
    expected = list(zip(images.DEFAULT_COLOURS, images.DEFAULT_PIPS, strict=True))
    assert images.read_dice(picture) == expected


@given(size=st.tuples(st.integers(48, 500), st.integers(48, 500)), colours=COLOURS, pips=PIPS)
@settings(max_examples=60, deadline=None)
def test_any_dice_read_back(size: tuple[int, int], colours: list[str], pips: list[int]) -> None:
    shown = Image.open(io.BytesIO(images.png_bytes(images.dice(size, colours, pips))))
    assert images.read_dice(shown) == list(zip(colours, pips, strict=True))


@pytest.mark.parametrize("kind", images.KINDS)
def test_same_parameters_same_bytes(kind: str) -> None:
    first, again, other = (
        images.png_bytes(images.draw(kind, (64, 48), seed)) for seed in (1, 1, 2)
    )
    assert first == again
    assert first != other


@pytest.mark.parametrize("kind", [kind for kind in images.KINDS if kind != "dice"])
@pytest.mark.parametrize("size", [(1, 1), (1, 70), (16, 1)])
def test_smallest_pictures(kind: str, size: tuple[int, int]) -> None:
    assert images.draw(kind, size).size == size


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (((47, 64),), "cannot be drawn on 47x64"),
        (((64, 64), ("red",) * 3), "3 colours"),
        (((64, 64), ("red",) * 3 + ("gold",)), "'gold'"),
        (((64, 64), ("red",) * 4, (1, 2, 3, 7)), "7 pips"),
    ],
)
def test_impossible_dice(arguments: tuple[object, ...], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        images.dice(*arguments)  # type: ignore[arg-type]


@pytest.mark.parametrize(("kind", "size"), [("dices", (64, 64)), ("plain", (0, 5))])
def test_impossible_pictures(kind: str, size: tuple[int, int]) -> None:
    with pytest.raises(UsageError):
        images.draw(kind, size)
