"""Qwen's vision models on the torch side: norms, positions of an answer, and the processor."""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from mm_lora.families.counting import Spans, framed
from mm_lora.families.qwen.positions import after_the_greatest
from mm_lora.families.torch_side import TorchSide


class QwenSide(TorchSide):
    """transformers' Auto classes; the model itself lays out mRoPE's positions."""

    # No Linear: PEFT adapts it all the same.
    other_modules: ClassVar[tuple[str, ...]] = ("Conv3d",)
    picture: ClassVar[tuple[str, str, str]] = (
        "<|vision_start|>",
        "<|image_pad|>",
        "<|vision_end|>",
    )
    """Start, placeholder and end of a picture in a prompt's text."""
    video: ClassVar[tuple[str, str, str]] = ("<|vision_start|>", "<|video_pad|>", "<|vision_end|>")
    """The same of a video."""
    in_video: ClassVar[tuple[str, ...]] = ("<|vision_start|>", "<|vision_end|>", "<|video_pad|>")
    """What the processor makes of a video, but for the times; the placeholder is the last."""

    def is_norm(self, name: str, shape: Sequence[int]) -> bool:
        """`ln_q` too."""
        return name.endswith("ln_q.weight") or super().is_norm(name, shape)

    def prepare(self, model: Any) -> None:
        """See `positions`."""
        model.model.get_rope_index = after_the_greatest(model.model.get_rope_index)

    def greedy(self, model: Any, inputs: Any, count: int) -> list[int]:
        """The model keeps the shift of positions that the last picture caused: forget it."""
        model.model.rope_deltas = None
        return super().greedy(model, inputs, count)

    def picture_tokens(self, processor: Any) -> tuple[str, str]:
        """A picture is shown by its placeholder between markers."""
        return "".join(self.picture), self.picture[1]

    def spans(self, tokens: Sequence[str]) -> Spans:
        """From marker to marker."""
        return framed(tokens, self.picture[0], self.picture[2])

    def seen(
        self, processor: Any, outcome: Any, spans: Spans, pictures: Sequence[Any]
    ) -> Sequence[Mapping[str, int]]:
        """The grids, and the patches that they say; as many as there are in the pixels."""
        grids = outcome["image_grid_thw"].tolist()
        patches = [frames * height * width for frames, height, width in grids]
        if sum(patches) != outcome["pixel_values"].shape[0]:
            raise RuntimeError(
                f"grids {grids} and {outcome['pixel_values'].shape[0]} patches of pixels"
            )
        return [
            {"grid_height": height, "grid_width": width, "patch_rows": count}
            for (_, height, width), count in zip(grids, patches, strict=True)
        ]

    def video_counts(self, processor: Any, video: Mapping[str, Any]) -> dict[str, Any]:
        """From the grid, the number of patches in the pixels, and the token ids: placeholders and
        markers, whatever text stands between them."""
        from PIL import Image

        frames = [Image.new("RGB", (video["width"], video["height"]))] * video["frames"]
        outcome = self.processed(processor, "".join(self.video), self.video_arguments([frames]))
        ((groups, height, width),) = outcome["video_grid_thw"].tolist()
        patches = outcome["pixel_values_videos"].shape[0]
        if patches != groups * height * width:
            raise RuntimeError(f"grid {groups}, {height}, {width} and {patches} patches of pixels")
        ids = outcome["input_ids"][0].tolist()
        markers = processor.tokenizer.convert_tokens_to_ids(list(self.in_video))
        return {
            "name": video["name"],
            "grid_frames": groups,
            "grid_height": height,
            "grid_width": width,
            "patch_rows": patches,
            "image_tokens": ids.count(markers[-1]),
            "prompt_tokens": sum(ids.count(marker) for marker in markers),
        }
