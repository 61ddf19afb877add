"""Fix: Qwen2.5-VL's processor is told how many frames a second a video has.

As vLLM pull request 47736 does it, except that a video without metadata stays one.
"""

from typing import Any

from ...registry import Patch

_INFO = "Qwen2_5_VLProcessingInfo"
_NOT_THEIRS = "do_sample_frames"
"""vLLM's own, which transformers' VideoMetadata does not take."""


def _kept(original: Any) -> Any:
    def get_data_parser(self: Any) -> Any:
        parser = original(self)
        if type(self).__name__ == _INFO:
            found = parser._get_video_with_metadata
            parser._get_video_with_metadata = lambda item: _assumed(*found(item))
            parser.video_needs_metadata = True
        return parser

    return get_data_parser


def _assumed(video: Any, metadata: Any) -> Any:
    """What transformers assumes of a video of which nothing is known, as of vLLM's dummies."""
    return video, metadata or {"total_num_frames": len(video), "fps": 24.0}


def _told(original: Any) -> Any:
    def _call_hf_processor(self: Any, prompt: Any, mm_data: Any, *more: Any, **named: Any) -> Any:
        if mm_data.get("videos"):
            from transformers.video_utils import VideoMetadata

            videos, known = zip(*mm_data["videos"], strict=True)
            metadata = [{k: one[k] for k in one if k != _NOT_THEIRS} for one in known]
            mm_data = {
                **mm_data,
                "videos": list(videos),
                "video_metadata": [VideoMetadata(**one) for one in metadata],
            }
        return original(self, prompt, mm_data, *more, **named)

    return _call_hf_processor


_CLASSES = "vllm.model_executor.models"

PATCH = Patch(
    id="video-times",
    kind="fix",
    versions=">=0.28,<0.32",
    wraps={
        f"{_CLASSES}.qwen2_vl:Qwen2VLProcessingInfo.get_data_parser": _kept,
        f"{_CLASSES}.qwen2_5_vl:Qwen2_5_VLMultiModalProcessor._call_hf_processor": _told,
    },
    reason="Qwen2.5-VL's data parser drops a video's metadata, so that transformers counts 24 "
    "frames a second: the positions of a video's frames are nearly the same",
)
