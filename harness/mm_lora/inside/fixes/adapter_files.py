"""Fix: an adapter that was evicted comes back from a copy of the files that it was loaded from."""

import shutil
import tempfile
from pathlib import Path
from typing import Any

from ..registry import Patch


def _wrapped(original: Any) -> Any:
    copies: dict[int, Path] = {}

    def _load_adapter(self: Any, lora_request: Any) -> Any:
        number = lora_request.lora_int_id
        if number in copies and not lora_request.load_inplace:
            kept = type(lora_request)(lora_request.lora_name, number, str(copies[number]))
            return original(self, kept)
        loaded = original(self, lora_request)
        folder = Path(tempfile.mkdtemp()) / "adapter"  # in the server's own TMPDIR
        if Path(lora_request.lora_path).is_dir():
            copies[number] = Path(shutil.copytree(lora_request.lora_path, folder))
        return loaded

    return _load_adapter


PATCH = Patch(
    id="adapter-files-kept",
    kind="fix",
    versions=">=0.28",
    wraps={"vllm.lora.worker_manager:WorkerLoRAManager._load_adapter": _wrapped},
    reason="worker_manager.py::_apply_adapters reads an evicted adapter from its path again, in "
    "a step: it gets whatever is there by then, and the engine dies if that cannot be loaded",
    upstream=("5105",),
)
