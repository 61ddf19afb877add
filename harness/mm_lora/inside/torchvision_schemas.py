"""Makes `import torchvision` work where its compiled operators do not load beside CPU torch."""

import sys
from types import ModuleType
from typing import Any

from . import hooks

_SCHEMAS = (
    "nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
)
_kept: list[Any] = []


def declare() -> bool:
    """Arrange for the schemas of `torchvision::nms` and `qnms`; False if it is too late.

    The general index has only torchvision's CUDA build: beside CPU torch its Python half fails on
    the missing operators. The image processors here do not call them, so that naming them is
    enough. To be called before torchvision is imported, in every process; cheap, imports nothing.
    """
    if "torchvision" in sys.modules:
        return False
    if not _kept:
        _kept.append(None)
        hooks.when_imported("torchvision.extension", _after_extension)
    return True


def _after_extension(module: ModuleType) -> None:
    """torchvision has just tried to load its operators; name them if it could not.

    Only then: declared twice, the library that does load ends the process.
    """
    if module._has_ops():
        return
    import torch

    untyped: Any = torch.library
    library = untyped.Library("torchvision", "FRAGMENT")
    _kept.append(library)  # the schemas go with the object
    for schema in _SCHEMAS:
        library.define(schema)
