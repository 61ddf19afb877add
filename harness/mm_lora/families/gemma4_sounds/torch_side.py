"""Gemma 4 on the torch side as it hears: no vision tower, what the extractor counts."""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from mm_lora.families.counting import framed
from mm_lora.families.gemma4.miniature import SOUND, SOUND_END, SOUND_START
from mm_lora.families.gemma4.torch_side import Gemma4Side
from mm_lora.families.gemma4_sounds.family import FAMILY
from mm_lora.families.torch_side import TorchSide


class Gemma4SoundsSide(Gemma4Side):
    """transformers' Gemma4ForConditionalGeneration."""

    family = FAMILY
    auto: ClassVar[str] = "AutoModelForMultimodalLM"

    def without_idle(self, model: Any) -> Any:
        """No sound reaches the vision tower."""
        model.model.vision_tower = model.model.embed_vision = None
        return model

    def prepare(self, model: Any) -> None:
        """The tower's attention wants a mask of yes and no, which transformers makes for sdpa."""
        model.model.audio_tower.config._attn_implementation = "sdpa"

    def canary(self) -> dict[str, Any]:
        """A sound."""
        return TorchSide.canary(self)

    def prompt_counts(
        self, processor: Any, prompt: Sequence[Mapping[str, Any]]
    ) -> list[dict[str, Any]]:
        """From the token ids and the mask of the frames."""
        import numpy as np

        outcome = processor(
            text=SOUND * len(prompt),
            audio=[np.zeros(clip["samples"], dtype=np.float32) for clip in prompt],
            add_special_tokens=False,
            return_tensors="pt",
        )
        ids = outcome["input_ids"][0].tolist()
        spans = framed(processor.tokenizer.convert_ids_to_tokens(ids), SOUND_START, SOUND_END)
        masks = outcome["input_features_mask"]
        return [
            {
                "name": clip["name"],
                "frames": int(mask.sum()),
                "image_tokens": list(span).count(SOUND),
                "prompt_tokens": len(span),
            }
            for clip, mask, span in zip(prompt, masks, spans, strict=True)
        ]


SIDE = Gemma4SoundsSide()
