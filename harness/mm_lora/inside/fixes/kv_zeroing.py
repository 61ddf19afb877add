"""Fix: KV-cache blocks are zeroed before another request gets them: no NaN stays in them."""

from typing import Any

from ..registry import Patch


def _wrapped(original: Any) -> Any:
    def needs_kv_cache_zeroing(self: Any) -> bool:
        return True

    return needs_kv_cache_zeroing


PATCH = Patch(
    id="zero-new-kv-blocks",
    kind="fix",
    versions=">=0.28",
    wraps={"vllm.v1.kv_cache_interface:KVCacheConfig.needs_kv_cache_zeroing": _wrapped},
    reason="a block that is given to another request keeps the old values behind that one's end; "
    "where an adapter left NaN there, every later answer is NaN, the base's too",
    upstream=("50002", "50283"),
)
