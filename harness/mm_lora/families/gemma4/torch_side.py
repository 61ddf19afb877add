"""Gemma 4 on the torch side: buffers that checkpoints hold, videos, what the processor counts."""

import copy
import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Any, ClassVar

from mm_lora.families.counting import Spans
from mm_lora.families.gemma3.family import CAUSAL
from mm_lora.families.gemma4.family import FAMILY, KEYS_ALONE
from mm_lora.families.gemma4.miniature import END, IMAGE, START, VIDEO
from mm_lora.families.torch_side import NOTHING, TorchSide

SHARPNESS = 2.0
"""How much a query of unit length tells keys apart in the language model's attention."""
BOUND = 12.0
"""Where the miniature's clipped projections clip, in and out."""


def adapted_keys_not_values(model: Any) -> AbstractContextManager[None] | None:
    """What a server computes that adds an adapter of k_proj to the keys, where they are the values
    too: those are of the weight as it was. None for a model that has no such layer."""
    found = [layer.self_attn for layer in model.model.language_model.layers]
    shared = [one for one in found if getattr(one, "v_proj", one) is None]
    return _with_values_of_their_own(shared) if shared else None


def attended_causally(model: Any) -> AbstractContextManager[None] | None:
    """What a server computes whose rows of a picture do not see those behind them. None for a model
    that was trained so."""
    text = model.config.text_config
    seen = getattr(text, "use_bidirectional_attention", None) == "vision"
    return _without_types(model.model) if seen else None


@contextmanager
def _without_types(whole: Any) -> Iterator[None]:
    right = whole.forward
    whole.forward = lambda **given: right(**{**given, "mm_token_type_ids": None})
    try:
        yield
    finally:
        del whole.forward


@contextmanager
def _with_values_of_their_own(shared: Sequence[Any]) -> Iterator[None]:
    for one in shared:
        one.v_proj = copy.deepcopy(one.k_proj)
    try:
        yield
    finally:
        for one in shared:
            one.v_proj = None


class Gemma4Side(TorchSide):
    """transformers' Gemma4ForConditionalGeneration."""

    family = FAMILY
    markers: ClassVar[tuple[str, str]] = (START, END)
    base_mistakes: ClassVar[Mapping[str, Any]] = {
        CAUSAL: attended_causally,
        KEYS_ALONE: adapted_keys_not_values,
    }

    def is_norm(self, name: str, shape: Sequence[int]) -> bool:
        """What scales a whole layer, or what leaves the tower, too."""
        scales = name.endswith(("layer_scalar", "std_scale"))
        return scales or super().is_norm(name, shape)

    def fan_in(self, name: str, shape: Sequence[int]) -> int:
        """The table of positions is [axis, position, width]: one row of it is added."""
        return (
            shape[-1] if name.endswith("position_embedding_table") else super().fan_in(name, shape)
        )

    def random_tensor(
        self, name: str, shape: tuple[int, ...], seed: int, tied: Mapping[str, str] = NOTHING
    ) -> Any:
        """The bounds of clipped projections are no weights. Queries and keys are not divided by
        √head_dim here, what their norms have learned is: with ones the least rounding would grow to
        1e-5 in an answer."""
        import torch

        if name.endswith(("put_min", "put_max")):
            return torch.tensor(-BOUND if name.endswith("min") else BOUND)
        values = super().random_tensor(name, shape, seed, tied)
        if ".language_model." in name and name.endswith(("q_norm.weight", "k_norm.weight")):
            return values * math.sqrt(SHARPNESS / math.sqrt(shape[0]))
        return values

    def prepare(self, model: Any) -> None:
        """2520 patches see each other: their weights need not be written.

        transformers 5.19 hands the frames of videos on without saying how many each has, and then
        refuses them; all of a prompt's are one stretch of rows, whosever they are.
        """
        import torch

        whole = model.model
        whole.vision_tower.config._attn_implementation = "sdpa"
        right = whole.get_video_features

        def get_video_features(pixels: Any, places: Any = None, *_: Any, **named: Any) -> Any:
            named["num_frames_per_video"] = torch.tensor([len(pixels)])
            return right(pixels, places, **named)

        whole.get_video_features = get_video_features

    def seen(
        self, processor: Any, outcome: Any, spans: Spans, pictures: Sequence[Any]
    ) -> Sequence[Mapping[str, int]]:
        """The grids by the places of the patches, and the patches that there are."""
        found = [_grid(processor.image_processor, one) for one in outcome["image_position_ids"]]
        rows = outcome["pixel_values"].shape[-2]
        return [{**grid, "encoder_rows": rows} for grid in found]

    def picture_tokens(self, processor: Any) -> tuple[str, str]:
        """A picture is shown by its placeholder; the processor adds the markers."""
        return IMAGE, IMAGE

    def video_counts(self, processor: Any, video: Mapping[str, Any]) -> dict[str, Any]:
        """From the places of the patches and the token ids: placeholders and markers, whatever
        text stands between them."""
        from PIL import Image

        frames = [Image.new("RGB", (video["width"], video["height"]))] * video["frames"]
        outcome = self.processed(processor, VIDEO, self.video_arguments([frames]))
        places = outcome["video_position_ids"]
        ids = outcome["input_ids"][0].tolist()
        counted = {
            token: ids.count(processor.tokenizer.convert_tokens_to_ids(token))
            for token in (VIDEO, START, END)
        }
        return {
            "name": video["name"],
            "frames": int(outcome["num_frames_per_video"].sum()),
            **_grid(processor.video_processor, places[0]),
            "encoder_rows": places.shape[0] * places.shape[1],
            "image_tokens": counted[VIDEO],
            "prompt_tokens": sum(counted.values()),
        }


def _grid(settings: Any, places: Any) -> dict[str, int]:
    """Of what becomes rows, by the (x, y) of each patch; those of no patch are below zero."""
    wide, high = ((places[:, axis].max() + 1).item() for axis in (0, 1))
    pool = settings.pooling_kernel_size
    return {"grid_height": high // pool, "grid_width": wide // pool}


SIDE = Gemma4Side()
