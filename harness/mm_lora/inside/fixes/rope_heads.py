"""Fix: a CPU turns every head of a query that has a dimension for its heads."""

from typing import Any

from ..registry import Patch

MODULE = "vllm.model_executor.layers.rotary_embedding.base"


def _all_heads(original: Any) -> Any:
    def forward_cpu(self: Any, positions: Any, query: Any, key: Any = None) -> tuple[Any, Any]:
        if query.dim() < 3:
            done: tuple[Any, Any] = original(self, positions, query, key)
            return done
        # The operator takes the last dimension for all heads of a token.
        flat = (one if one is None else one.flatten(1) for one in (query, key))
        turned, turned_key = original(self, positions, *flat)
        return turned.view_as(query), None if key is None else turned_key.view_as(key)

    return forward_cpu


PATCH = Patch(
    id="cpu-rope-heads",
    kind="fix",
    versions=">=0.32",
    wraps={f"{MODULE}:RotaryEmbedding.forward_cpu": _all_heads},
    reason="the CPU's operator reads [tokens, heads, size] as tokens of one head, and turns as "
    "many rows as there are tokens by other tokens' positions",
)
