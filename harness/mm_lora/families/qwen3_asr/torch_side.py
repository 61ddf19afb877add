"""Qwen3-ASR on the torch side: one call of the processor for each sound, norms of its own name."""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from mm_lora.families.qwen3_asr.family import FAMILY
from mm_lora.families.qwen3_asr.miniature import END, PAD, START
from mm_lora.families.torch_side import TorchSide


class Qwen3AsrSide(TorchSide):
    """transformers' Qwen3ASRForConditionalGeneration, whose processor takes one sound a text."""

    family = FAMILY
    auto: ClassVar[str] = "AutoModelForMultimodalLM"

    def is_norm(self, name: str, shape: Sequence[int]) -> bool:
        """The encoder's last one too."""
        return name.endswith("ln_post.weight") or super().is_norm(name, shape)

    def processed(self, processor: Any, prompt: str, media: Mapping[str, Any]) -> Any:
        """Each sound by itself, as vLLM does: beside a longer one its last frame would count."""
        import torch
        from torch.nn.functional import pad

        features, masks, text = [], [], prompt
        for sound in media.get("audio") or ():
            one = heard(processor, sound)
            count = int((one["input_ids"] == processor.audio_token_id).sum())
            # Another token for those that are done, so that the next one is found.
            text = text.replace(PAD, _DONE * count, 1)
            features.append(one["input_features"][0])
            masks.append(one["input_features_mask"][0])
        known = processor.tokenizer(
            text.replace(_DONE, PAD), add_special_tokens=False, return_tensors="pt"
        )
        if features:
            longest = max(mask.shape[-1] for mask in masks)
            for name, found in (("input_features", features), ("input_features_mask", masks)):
                same = [pad(one, (0, longest - one.shape[-1])) for one in found]
                known[name] = torch.stack(same)
        return known

    def arguments(self, inputs: Any, length: int) -> dict[str, Any]:
        """Features and their mask: neither has an entry for each token."""
        names = ("input_features", "input_features_mask")
        return {name: inputs[name] for name in names if name in inputs}

    def prompt_counts(
        self, processor: Any, prompt: Sequence[Mapping[str, Any]]
    ) -> list[dict[str, Any]]:
        """From the token ids and the mask of the frames."""
        import numpy as np

        counted = []
        for clip in prompt:
            one = heard(processor, np.zeros(clip["samples"], dtype=np.float32))
            tokens = processor.tokenizer.convert_ids_to_tokens(one["input_ids"][0].tolist())
            counted.append(
                {
                    "name": clip["name"],
                    "frames": int(one["input_features_mask"].sum()),
                    "image_tokens": tokens.count(PAD),
                    "prompt_tokens": len(tokens),
                }
            )
        return counted


_DONE = "<done>"


def heard(processor: Any, samples: Any) -> Any:
    """What the processor makes of one sound between its markers."""
    return processor(
        text=f"{START}{PAD}{END}", audio=samples, add_special_tokens=False, return_tensors="pt"
    )


SIDE = Qwen3AsrSide()
