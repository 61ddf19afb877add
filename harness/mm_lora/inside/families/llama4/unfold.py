"""Compat: gives the patch embedding's matrix product the contiguous input that oneDNN wants."""

from typing import Any

from ...registry import Patch


def _wrapped(original: Any) -> Any:
    def init(self: Any, *args: Any, **kwargs: Any) -> None:
        original(self, *args, **kwargs)
        self.unfold.register_forward_hook(_rows_contiguous)

    return init


def _rows_contiguous(module: Any, args: Any, unfolded: Any) -> Any:
    """(chunks, pixels, patches), laid out so that its permuted view is contiguous.

    On the unfold layer, not in `forward`: forward stays vLLM's own.
    """
    return unfolded.transpose(1, 2).contiguous().transpose(1, 2)


PATCH = Patch(
    id="llama4-unfold-contiguous",
    kind="compat",
    platform="cpu",
    wraps={"vllm.model_executor.models.mllama4:Llama4UnfoldConvolution.__init__": _wrapped},
    reason="Llama4UnfoldConvolution.forward hands oneDNN a permuted view, which wants unit stride "
    "on the last axis and raises",
)
