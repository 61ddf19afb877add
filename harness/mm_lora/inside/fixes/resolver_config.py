"""Fix: a folder that the filesystem resolver cannot read as an adapter is not one: 404, not 500."""

from typing import Any

from ..registry import Patch

_RESOLVER = "vllm.plugins.lora_resolvers.filesystem_resolver:FilesystemResolver"


def _wrapped(original: Any) -> Any:
    async def _get_lora_req_from_path(self: Any, *arguments: Any, **named: Any) -> Any:
        try:
            return await original(self, *arguments, **named)
        except (KeyError, ValueError, OSError):
            return None

    return _get_lora_req_from_path


PATCH = Patch(
    id="resolver-bad-config",
    kind="fix",
    versions=">=0.20",
    wraps={f"{_RESOLVER}._get_lora_req_from_path": _wrapped},
    reason="filesystem_resolver.py::_get_lora_req_from_path takes keys of adapter_config.json for "
    "granted",
    upstream=("53461",),
)
