"""Counting: the tokens of each picture, and what contradicts the pixels."""

from collections.abc import Mapping, Sequence
from types import SimpleNamespace
from typing import Any

import pytest

from mm_lora.families import counting
from mm_lora.families.counting import Counting, require_tiles

PROMPT = [{"name": "one"}, {"name": "two"}]


class Words:
    """A processor: of each `<image>` it makes as many words as its picture says."""

    image_token = "<image>"

    def __init__(self) -> None:
        self.tokenizer = SimpleNamespace(convert_ids_to_tokens=list)

    def __call__(self, *, text: str, images: Sequence[Any], **_: Any) -> dict[str, Any]:
        for count in images:
            text = text.replace("<image>", "<1>" * count, 1)
        words = text.replace("<1>", "<image>").replace("><", "> <").split()
        return {"input_ids": [SimpleNamespace(tolist=lambda: words)]}


class Side(Counting):
    def seen(
        self, processor: Any, outcome: Any, spans: Sequence[Any], pictures: Sequence[Any]
    ) -> list[Mapping[str, int]]:
        return [{"pixels": count} for count in pictures]


class Parted(Side):
    apart = "<end>"


class Framed(Side):
    markers = ("<s>", "</s>")

    def picture_tokens(self, processor: Any) -> tuple[str, str]:
        return "<s><image></s>", "<image>"


@pytest.fixture(autouse=True)
def pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = {"one": 2, "two": 3}
    monkeypatch.setattr(counting, "as_loaded", lambda picture: sizes[picture["name"]])


@pytest.mark.parametrize(("side", "markers"), [(Parted(), 0), (Framed(), 2)])
def test_each_picture_has_its_own_tokens(side: Counting, markers: int) -> None:
    assert side.prompt_counts(Words(), PROMPT) == [
        {"name": name, "pixels": count, "image_tokens": count, "prompt_tokens": count + markers}
        for name, count in (("one", 2), ("two", 3))
    ]


def test_pictures_that_run_together_are_no_count() -> None:
    class Together(Parted):
        def prompt_text(self, shown: str, count: int) -> str:
            return shown * count

    with pytest.raises(RuntimeError, match="2 pictures became 1"):
        Together().prompt_counts(Words(), PROMPT)


def test_tiles_are_those_of_the_pixels() -> None:
    require_tiles([1, 3], 4)
    with pytest.raises(RuntimeError, match=r"\[1, 3\] tiles in the prompt, and 5"):
        require_tiles([1, 3], 5)
