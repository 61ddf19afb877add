"""Fix: the filesystem resolver looks for adapters in its own folder only."""

import os
from typing import Any

from ..registry import Patch


def _wrapped(original: Any) -> Any:
    async def resolve_lora(self: Any, base_model_name: str, lora_name: str) -> Any:
        root = os.path.realpath(self.lora_cache_dir)
        path = os.path.realpath(os.path.join(root, lora_name))
        if os.path.commonpath([root, path]) != root or path == root:
            return None
        return await original(self, base_model_name, lora_name)

    return resolve_lora


PATCH = Patch(
    id="resolver-stays-inside",
    kind="fix",
    versions=">=0.20",
    wraps={
        "vllm.plugins.lora_resolvers.filesystem_resolver:FilesystemResolver.resolve_lora": _wrapped
    },
    reason="filesystem_resolver.py::resolve_lora joins its folder and any name: `..` and absolute "
    "names in a request reach every adapter on the disk",
    upstream=("46287",),
)
