"""Gemma 3 on the torch side: norms around 1, pictures that see themselves, what is counted."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any, ClassVar

from mm_lora.families.gemma3.family import CAUSAL, FAMILY
from mm_lora.families.llava.torch_side import LlavaSide
from mm_lora.families.torch_side import NOTHING, as_loaded

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

    family = FAMILY
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

    def prompt_counts(
        self, processor: Any, prompt: Sequence[Mapping[str, Any]]
    ) -> list[dict[str, Any]]:
        """From the token ids behind each start of a picture, and the pixels. A line break comes
        first, as in a chat."""
        start = processor.boi_token
        outcome = processor(
            text="\n" + start * len(prompt),
            images=[as_loaded(picture) for picture in prompt],
            add_special_tokens=False,
            return_tensors="pt",
        )
        tokens = processor.tokenizer.convert_ids_to_tokens(outcome["input_ids"][0].tolist())
        at = [place for place, token in enumerate(tokens) if token == start]
        spans = [tokens[first:last] for first, last in zip(at, [*at[1:], len(tokens)], strict=True)]
        pixels, patch = outcome["pixel_values"], processor.patch_size
        if not len(spans) == len(pixels) == len(prompt):
            raise RuntimeError(f"{len(prompt)} pictures became {len(spans)} and {len(pixels)}")
        return [
            {
                "name": picture["name"],
                "grid_height": int(one.shape[-2]) // patch,
                "grid_width": int(one.shape[-1]) // patch,
                "image_tokens": span.count(processor.tokenizer.image_token),
                "prompt_tokens": len(span),
            }
            for picture, one, span in zip(prompt, pixels, spans, strict=True)
        ]


SIDE = Gemma3Side()
