"""GLM-4.1V on the torch side: its tokens, whose they are, and a known mistake of servers."""

from collections.abc import Callable, Mapping
from typing import Any, ClassVar

from mm_lora.families.glm4_1v.family import FAMILY
from mm_lora.families.qwen import tower_qkv
from mm_lora.families.qwen.torch_side import QwenSide
from mm_lora.families.torch_side import Mistake


def by_medium(config: Any) -> Callable[..., tuple[Any, Any]]:
    """The model's `get_placeholder_mask`: which tokens the rows of pictures and of videos replace.

    A video's placeholders are those of pictures, between its own markers. transformers 5.19 takes
    all of them for either, so that a prompt with both has too many for each.
    """

    def get_placeholder_mask(input_ids: Any, *_: Any, **__: Any) -> tuple[Any, Any]:
        begun = (input_ids == config.video_start_token_id).cumsum(-1)
        inside = begun > (input_ids == config.video_end_token_id).cumsum(-1)
        placeholder = input_ids == config.image_token_id
        return (placeholder & ~inside).unsqueeze(-1), (placeholder & inside).unsqueeze(-1)

    return get_placeholder_mask


class Glm41VSide(QwenSide):
    """transformers' Glm4vForConditionalGeneration."""

    family = FAMILY
    # No Linear: PEFT adapts both all the same.
    other_modules: ClassVar[tuple[str, ...]] = ("Conv2d", "Conv3d")
    picture = ("<|begin_of_image|>", "<|image|>", "<|end_of_image|>")
    video = ("<|begin_of_video|>", "<|video|>", "<|end_of_video|>")
    in_video = (
        *("<|begin_of_video|>", "<|end_of_video|>"),
        *("<|begin_of_image|>", "<|end_of_image|>", "<|image|>"),
    )
    mistakes: ClassVar[Mapping[str, Mistake]] = {tower_qkv.IGNORED: tower_qkv.without_tower_qkv}

    def prepare(self, model: Any) -> None:
        """See `by_medium`."""
        super().prepare(model)
        model.model.get_placeholder_mask = by_medium(model.config)


SIDE = Glm41VSide()
