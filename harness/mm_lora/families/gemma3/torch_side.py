"""Gemma 3 on the torch side: norms around 1, pictures that see themselves, what is counted."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any, ClassVar

from mm_lora.families.counting import Spans
from mm_lora.families.gemma3.family import CAUSAL, FAMILY
from mm_lora.families.gemma3.miniature import IMAGE, START
from mm_lora.families.llava.shared import LlavaFamily
from mm_lora.families.llava.torch_side import LlavaSide
from mm_lora.families.torch_side import NOTHING

_PROJECTION = "mm_input_projection_weight"


def attended_causally(model: Any) -> AbstractContextManager[None]:
    """What a server computes whose rows of a picture do not see those behind them."""
    return _without_types(model)


@contextmanager
def _without_types(model: Any) -> Iterator[None]:
    whole = model.model
    right = whole.forward
    whole.forward = lambda **given: right(**{**given, "token_type_ids": None})
    try:
        yield
    finally:
        del whole.forward


class Gemma3Side(LlavaSide):
    """transformers' Gemma3ForConditionalGeneration."""

    family: ClassVar[LlavaFamily] = FAMILY
    base_mistakes: ClassVar[Mapping[str, Any]] = {CAUSAL: attended_causally}

    def without_idle(self, model: Any) -> Any:
        """Every layer runs."""
        return model

    def fan_in(self, name: str, shape: Sequence[int]) -> int:
        """The projection is [in, out]."""
        return shape[0] if name.endswith(_PROJECTION) else super().fan_in(name, shape)

    def random_tensor(
        self, name: str, shape: tuple[int, ...], seed: int, tied: Mapping[str, str] = NOTHING
    ) -> Any:
        """Gemma's norms multiply by 1 + weight, the tower's by the weight."""
        values = super().random_tensor(name, shape, seed, tied)
        own = self.is_norm(name, shape) and ".vision_tower." not in name
        return values - 1 if own else values

    def prepare(self, model: Any) -> None:
        """4096 rows of a picture see each other in the tower: its weights need not be written."""
        model.model.vision_tower.config._attn_implementation = "sdpa"

    def counting(self, folder: Path, layout: Mapping[str, Any]) -> Any:
        """The processor, which does not know of patches."""
        processor = super().counting(folder, layout)
        processor.patch_size = layout["patch_size"]
        return processor

    def picture_tokens(self, processor: Any) -> tuple[str, str]:
        """A picture is shown by its first marker."""
        return START, IMAGE

    def prompt_text(self, shown: str, count: int) -> str:
        """A line break comes first, as in a chat."""
        return "\n" + shown * count

    def spans(self, tokens: Sequence[str]) -> Spans:
        """From the start of each picture to the next one's."""
        at = [place for place, token in enumerate(tokens) if token == START]
        ends = [*at[1:], len(tokens)]
        return [tokens[first:last] for first, last in zip(at, ends, strict=True)]

    def measured(self, processor: Any, outcome: Any) -> Sequence[dict[str, int]]:
        """The grid of patches, by the pixels."""
        patch = processor.patch_size
        return [
            {"grid_height": int(one.shape[-2]) // patch, "grid_width": int(one.shape[-1]) // patch}
            for one in outcome["pixel_values"]
        ]


SIDE = Gemma3Side()
