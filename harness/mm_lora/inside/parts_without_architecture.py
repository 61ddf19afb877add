"""Compat: a part of a model, which names no architecture, is taken for one of vLLM's classes."""

from typing import Any

from .registry import Patch


def _named(original: Any) -> Any:
    def _get_transformers_backend_cls(self: Any) -> Any:
        return original(self) if self.architectures else "TransformersForCausalLM"

    return _get_transformers_backend_cls


PATCH = Patch(
    id="cpu-parts-without-architecture",
    kind="compat",
    platform="cpu",
    versions=">=0.28,<0.32",
    wraps={"vllm.config.model:ModelConfig._get_transformers_backend_cls": _named},
    reason="a language model that is made from its part of the config has an empty list of "
    "architectures, whose first is asked for: on a CPU the server does not start",
)
