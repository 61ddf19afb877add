"""LLaVA-NeXT-Video on the torch side: what the processor counts in frames."""

from collections.abc import Mapping, Sequence
from typing import Any

from mm_lora.families.llava.torch_side import LlavaSide
from mm_lora.families.llava_next_video.family import FAMILY, VIDEO


class LlavaNextVideoSide(LlavaSide):
    """The same layers and names; its media are videos."""

    family = FAMILY

    def prompt_counts(
        self, processor: Any, prompt: Sequence[Mapping[str, Any]]
    ) -> list[dict[str, Any]]:
        """Of the only video of a prompt."""
        sides = [{**one, "width": one["side"], "height": one["side"]} for one in prompt]
        return [self.video_counts(processor, one) for one in sides]

    def video_counts(self, processor: Any, video: Mapping[str, Any]) -> dict[str, Any]:
        """From the shape of its pixels, and the token ids."""
        from PIL import Image

        frames = [Image.new("RGB", (video["width"], video["height"]))] * video["frames"]
        outcome = self.processed(processor, VIDEO, self.video_arguments([frames]))
        ((count, _, height, width),) = (tuple(one.shape) for one in outcome["pixel_values_videos"])
        ids = outcome["input_ids"][0].tolist()
        return {
            "name": video["name"],
            "frames": count,
            "grid_height": height // processor.patch_size,
            "grid_width": width // processor.patch_size,
            "image_tokens": ids.count(processor.video_token_id),
            "prompt_tokens": len(ids),
        }


SIDE = LlavaNextVideoSide()
