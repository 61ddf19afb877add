"""Fix: a folder that the filesystem resolver cannot read as an adapter is not one: 404, not 500."""

from types import ModuleType
from typing import Any

from ..hooks import replace
from ..registry import Patch


def _apply(module: ModuleType) -> None:
    def make(original: Any) -> Any:
        async def _get_lora_req_from_path(self: Any, *arguments: Any, **named: Any) -> Any:
            try:
                return await original(self, *arguments, **named)
            except (KeyError, ValueError, OSError):
                return None

        return _get_lora_req_from_path

    replace(module, "FilesystemResolver._get_lora_req_from_path", make)


PATCH = Patch(
    id="resolver-bad-config",
    kind="fix",
    versions=">=0.20",
    modules=("vllm.plugins.lora_resolvers.filesystem_resolver",),
    apply=_apply,
    reason="filesystem_resolver.py::_get_lora_req_from_path takes keys of adapter_config.json for "
    "granted",
    upstream=("53461",),
)
