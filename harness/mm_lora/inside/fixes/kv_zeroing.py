"""Fix: KV-cache blocks are zeroed before another request gets them: no NaN stays in them."""

from types import ModuleType

from ..hooks import HookGone
from ..registry import Patch

MODULE = "vllm.v1.kv_cache_interface"


def _apply(module: ModuleType) -> None:
    owner = getattr(module, "KVCacheConfig", None)
    if not isinstance(getattr(owner, "needs_kv_cache_zeroing", None), property):
        raise HookGone(f"{MODULE}:KVCacheConfig.needs_kv_cache_zeroing: no such property")
    owner.needs_kv_cache_zeroing = property(lambda self: True)  # type: ignore[union-attr]


PATCH = Patch(
    id="zero-new-kv-blocks",
    kind="fix",
    versions=">=0.28",
    modules=(MODULE,),
    apply=_apply,
    reason="a block that is given to another request keeps the old values behind that one's end; "
    "where an adapter left NaN there, every later answer is NaN, the base's too",
    upstream=("50002", "50283"),
)
