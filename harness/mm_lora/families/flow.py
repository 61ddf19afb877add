"""What one picture or video of a request becomes: rows by kind, placeholder and prompt tokens."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, kw_only=True)
class Flow:
    """The token flow of one medium.

    `name`: for a reader (`700×400`). `size`: (width, height) in pixels, or two other numbers that
    the `measures` name: (samples, rate) of a sound.
    `rows`: how many rows the layers of each kind see (`ModuleGroup.rows`), summed over all units.
    `tokens`: placeholders in the prompt, one a row that the language model gets.
    `prompt_tokens`: these and all markers.
    `units`: what a picture is cut into (chunks, tiles), 1 where it is not cut. `details`: further
    numbers, as `tokens --json` has them. `drawing`: how the medium is cut, in text.
    """

    name: str
    size: tuple[int, int]
    rows: Mapping[str, int]
    tokens: int
    prompt_tokens: int
    units: int = 1
    medium: str = "image"
    details: Mapping[str, int] = field(default_factory=dict)
    drawing: str = ""
    measures: tuple[str, str] = ("width", "height")

    def as_json(self) -> dict[str, Any]:
        """As `tokens --json` writes it."""
        return {
            **dict(zip(self.measures, self.size, strict=True)),
            **self.details,
            **{f"{kind}_rows": rows for kind, rows in self.rows.items()},
            "image_tokens": self.tokens,
            "prompt_tokens": self.prompt_tokens,
        }


@dataclass(frozen=True, kw_only=True)
class HookCase:
    """One question to the count hook of vLLM's class: `tokens` placeholders of a `medium`.

    `tower`, `connector`: the rows that it must answer, None for a number that no medium has, where
    any answer is only noted. `least`: it may answer more; so of no item, but of any items with so
    many placeholders, as vLLM asks to size its buffers. `shapes`: shape of each tensor of the item,
    for a hook that reads them. `label`: for a reader.
    """

    label: str
    tokens: int
    tower: int | None = None
    connector: int | None = None
    medium: str = "image"
    shapes: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    least: bool = False

    @property
    def has_answer(self) -> bool:
        """Whether there is a right answer."""
        return self.tower is not None or self.connector is not None


@dataclass(frozen=True, kw_only=True)
class KnownFlow:
    """One number that others stated or that a real server showed: what the arithmetic must meet.

    `quantity`: a key of `Flow.as_json`, for a picture of `width` × `height` on `model`; for a sound
    these are its samples and their rate.
    """

    model: str
    width: int
    height: int
    quantity: str
    value: int
    source: str


def known(
    model: str, size: tuple[int, int], source: str, **quantities: int
) -> tuple[KnownFlow, ...]:
    """What one source states of a picture of that size on `model`."""
    width, height = size
    return tuple(
        KnownFlow(
            model=model, width=width, height=height, quantity=name, value=value, source=source
        )
        for name, value in quantities.items()
    )
