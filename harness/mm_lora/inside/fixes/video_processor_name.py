"""Fix: the class of a model's video processor is a name, also where transformers gives a table."""

from typing import Any

from ..registry import Patch


def _a_name(original: Any) -> Any:
    def get_video_processor_cls_name(*args: Any, **more: Any) -> Any:
        found = original(*args, **more)
        return found.get("torchvision") if isinstance(found, dict) else found

    return get_video_processor_cls_name


PATCH = Patch(
    id="video-processor-name",
    kind="fix",
    versions=">=0.28,<0.32",
    wraps={"vllm.transformers_utils.processor:get_video_processor_cls_name": _a_name},
    reason="transformers 5.19 and newer map a model type to {'torchvision': name}, which cannot be "
    "a dictionary's key: a request with a video is refused with HTTP 400",
)
