"""LLaVA-NeXT-Video: a video alone, whose frames are pooled before they reach the projector."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

from mm_lora.core.asking import Encoded, Video
from mm_lora.core.errors import UsageError
from mm_lora.families.family import VideoSizes, VllmClass
from mm_lora.families.flow import Flow, HookCase, known
from mm_lora.families.image_processor import VIDEO_NAME
from mm_lora.families.layouts import require_picture
from mm_lora.families.llava import miniature
from mm_lora.families.llava.family import Llava
from mm_lora.families.llava_next_video.layout import Layout, layout_of
from mm_lora.families.pictures import prompts
from mm_lora.families.videos import Clip
from mm_lora.families.vocabulary import token_id

VIDEO = "<video>"
_PINPOINTS = [[336, 672], [672, 336], [672, 672], [1008, 336], [336, 1008]]
_BLOG = "LLaVA-NeXT: A Strong Zero-shot Video Understanding Model (blog, 2024-04-30)"


class LlavaNextVideo(Llava):
    """Every frame is cropped to a square; vLLM's class takes one video in a prompt, no picture."""

    name = "llava-next-video"
    title = "LLaVA-NeXT-Video"
    model_types = ("llava_next_video",)
    published = ("llava-next-video", "llava-next-video-34b")
    repositories: ClassVar[Mapping[str, str]] = {
        "llava-hf/LLaVA-NeXT-Video-7B-hf": "llava-next-video",
        "llava-hf/LLaVA-NeXT-Video-7B-DPO-hf": "llava-next-video",
        "llava-hf/LLaVA-NeXT-Video-34B-hf": "llava-next-video-34b",
    }
    state = "partly"
    state_reason = (
        "vLLM refuses adapters of its projector and counts no class token in its tower; with fixes "
        "for both its core passes and its mutants are killed, without them it was run in part"
    )
    media = ("video",)
    limits: ClassVar[Mapping[str, int]] = {"video": 1}
    processor_class = "LlavaNextVideoProcessor"
    special_tokens = (*Llava.special_tokens, VIDEO)
    sizes = VideoSizes(
        one=(1, 336),
        few=(2, 300),
        many=(4, 400),
        small=((1, 64), (1, 80), (1, 100), (1, 120)),
        labels={"one": "1-frame", "few": "2-frames", "many": "4-frames"},
        unit="frame",
    )
    formulas: ClassVar[Mapping[str, str]] = {
        "encoder": "frames · (p² + 1), p = image_size / patch_size: the class token of CLIP, which "
        "is not pooled",
        "connector": f"frames · (p / spatial_pool_stride)² ({_BLOG})",
    }
    vllm = VllmClass(module="llava_next_video", name="LlavaNextVideoForConditionalGeneration")
    known_flows = (
        *known(
            name,
            (1, 336),
            f"{_BLOG}: 12 × 12 tokens a frame",
            image_tokens=144,
        ),
        *known(
            name,
            (2, 336),
            "video_seq_length of transformers' LlavaNextVideoConfig",
            image_tokens=288,
        ),
    )

    def layout(self, config: Mapping[str, Any], folder: Path | None) -> Layout:
        """As LLaVA's, and the pooling."""
        return layout_of(config, folder, self.tower, self.assumed)

    def flow(self, layout: Any, medium: Encoded) -> Flow:
        """All frames in one call of the tower, and one of the projector."""
        if not isinstance(medium, Video):
            raise UsageError(f"{self.title} takes videos alone in vLLM", "the medium")
        require_picture(medium.width, medium.height)
        tokens = medium.frames * layout.pooled
        return Flow(
            name=f"{medium.frames}×{medium.width}×{medium.height}",
            size=(medium.frames, medium.height),
            rows={"encoder": medium.frames * layout.frame_rows, "connector": tokens},
            tokens=tokens,
            prompt_tokens=tokens,
            units=medium.frames,
            medium="video",
            details={"width": medium.width, "grid_height": layout.side, "grid_width": layout.side},
            measures=("frames", "height"),
        )

    def describe(self, layout: Any) -> Sequence[str]:
        """The layout, and the rows of a frame."""
        return (
            f"image_size {layout.image_size} / patch_size {layout.patch_size}, pooled by "
            f"{layout.pool_stride}, every frame a square",
            f"rows of any frame: {layout.frame_rows} encoder, {layout.pooled} connector",
        )

    def miniature(self, config: Mapping[str, Any], layout: Any) -> dict[str, Any]:
        """Of this class."""
        small = super().miniature(config, layout)
        video = token_id(self.special_tokens, VIDEO)
        return small | {"architectures": [self.vllm.name], "video_token_index": video}

    def side_files(self, layout: Any) -> dict[str, Any]:
        """A processor of pictures too, which transformers' class wants."""
        pictures = self.picture_settings(layout)
        tiles = {"image_processor_type": "LlavaNextImageProcessor", "do_pad": True}
        frames = {key: value for key, value in pictures.items() if key != "image_processor_type"}
        files = miniature.side_files(
            self.special_tokens,
            self.processor_class,
            self.processor_settings(layout) | {"video_token": VIDEO},
            {**pictures, **tiles, "image_grid_pinpoints": _PINPOINTS},
        )
        return files | {
            VIDEO_NAME: {
                **frames,
                "processor_class": self.processor_class,
                "video_processor_type": "LlavaNextVideoVideoProcessor",
            }
        }

    def questions(self, layout: Any) -> Sequence[Sequence[Any]]:
        """Numbers of frames, each of another size; one video in a prompt."""
        side, patch = layout.image_size, layout.patch_size
        sides = (1, patch, side - 1, side, side + 1, 2 * side, 3 * side + 1, 64, 100, 640, 1080)
        frames = (1, 2, 3, 4, 5, 7, 8, 9, 12, 16, 32)
        named = dict.fromkeys((*zip(frames, sides, strict=True), *self._sizes))
        return prompts({f"{n}x{edge}": Clip(f"{n}x{edge}", n, edge) for n, edge in named}, ())

    @property
    def _sizes(self) -> tuple[tuple[int, int], ...]:
        return (self.sizes.one, self.sizes.few, self.sizes.many)

    def clips(self, layout: Any) -> Sequence[Video]:
        """Frames that are no squares."""
        shapes = ((3, 640, 360), (2, 30, 500), (4, 337, 336), (1, 8, 120))
        return tuple(Video(frames=n, width=wide, height=high) for n, wide, high in shapes)

    def hook_cases(self, layout: Any) -> Sequence[HookCase]:
        """What every number of frames has; numbers of no video."""
        right = [
            HookCase(
                label=f"{frames} frames",
                tokens=frames * layout.pooled,
                tower=frames * layout.frame_rows,
                connector=frames * layout.pooled,
                medium="video",
            )
            for frames in (1, 2, 3, 4, 8, 14, 28)
        ]
        odd = (0, -1, 1, layout.pooled + 1)
        return [
            *right,
            *(HookCase(label=f"{n} video tokens", tokens=n, medium="video") for n in odd),
        ]


FAMILY = LlavaNextVideo()
