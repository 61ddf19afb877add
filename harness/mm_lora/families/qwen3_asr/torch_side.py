"""Qwen3-ASR on the torch side: one call of the processor for each sound, norms of its own name."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Any, ClassVar

from mm_lora.families.qwen3_asr.family import FAMILY, UNFILLED
from mm_lora.families.qwen3_asr.layout import halved
from mm_lora.families.qwen3_asr.miniature import END, PAD, START
from mm_lora.families.torch_side import TorchSide


def short_windows_not_filled(model: Any) -> AbstractContextManager[None]:
    """The convolutions are given no more frames than the longest sound has, where that is less than
    a window: then what they make of its end is another."""
    tower = model.model.audio_tower
    window = 2 * tower.n_window
    longest = [window]

    def note(_: Any, __: Any, given: Mapping[str, Any]) -> None:
        longest[0] = min(window, int(given["input_features_mask"].sum(-1).max()))

    def cut(_: Any, given: Sequence[Any]) -> Any:
        return (given[0][..., : longest[0]],)

    def fill(_: Any, __: Any, made: Any) -> Any:
        from torch.nn.functional import pad

        return pad(made, (0, halved(window) - made.shape[-1]))

    @contextmanager
    def meanwhile() -> Iterator[None]:
        handles = (
            tower.register_forward_pre_hook(note, with_kwargs=True),
            tower.conv2d1.register_forward_pre_hook(cut),
            tower.conv2d3.register_forward_hook(fill),
        )
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()

    return meanwhile()


class Qwen3AsrSide(TorchSide):
    """transformers' Qwen3ASRForConditionalGeneration, whose processor takes one sound a text."""

    family = FAMILY
    auto: ClassVar[str] = "AutoModelForMultimodalLM"
    base_mistakes: ClassVar[Mapping[str, Any]] = {UNFILLED: short_windows_not_filled}

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
