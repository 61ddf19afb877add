"""BLIP-2 on the torch side: texts alone, names of norms, what is counted."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

from mm_lora.families.blip2.family import FAMILY
from mm_lora.families.blip2.miniature import IMAGE
from mm_lora.families.counting import Spans
from mm_lora.families.qwen import tower_qkv
from mm_lora.families.torch_side import Mistake, TorchSide


class Blip2Side(TorchSide):
    """transformers' Blip2ForConditionalGeneration."""

    family = FAMILY
    head = "language_model.lm_head.weight"
    sharp = r"^vision_model\..*qkv\.weight$|\.crossattention\.attention\.(query|key)\.weight$"
    mistakes: ClassVar[Mapping[str, Mistake]] = {tower_qkv.IGNORED: tower_qkv.without_tower_qkv}

    def is_norm(self, name: str, shape: Sequence[int]) -> bool:
        """The Q-Former's are called LayerNorm."""
        return super().is_norm(name.replace("LayerNorm", "norm"), shape)

    def prepare(self, model: Any) -> None:
        """Texts without a picture are the language model's: transformers' class wants pixels. It
        keeps what was computed within the answer of its language model."""
        right = model.forward

        def forward(pixel_values: Any = None, **given: Any) -> Any:
            if pixel_values is None:
                return model.language_model(**given)
            return right(pixel_values=pixel_values, **given).language_model_outputs

        model.forward = forward

    def processor(self, checkpoint: str) -> Any:
        """transformers' class takes no chat template: the tokenizer has it."""
        processor = super().processor(checkpoint)
        processor.chat_template = processor.tokenizer.chat_template
        return processor

    def counting(self, folder: Path, layout: Mapping[str, Any]) -> Any:
        """The processor, which does not know of patches."""
        processor = super().counting(folder, layout)
        processor.patch_size = layout["patch_size"]
        return processor

    def picture_tokens(self, processor: Any) -> tuple[str, str]:
        """The processor puts placeholders before the text by itself."""
        return "", IMAGE

    def prompt_text(self, shown: str, count: int) -> str:
        """Not a word."""
        return shown

    def spans(self, tokens: Sequence[str]) -> Spans:
        """The only picture's are all of the prompt."""
        return [tokens]

    def seen(
        self, processor: Any, outcome: Any, spans: Spans, pictures: Sequence[Any]
    ) -> Sequence[Mapping[str, int]]:
        """The grid of patches, by the pixels."""
        patch = processor.patch_size
        return [
            {"grid_height": int(one.shape[-2]) // patch, "grid_width": int(one.shape[-1]) // patch}
            for one in outcome["pixel_values"]
        ]


SIDE = Blip2Side()
