"""Fixes for the audio encoder: rows of the projection after the convolutions, sounds shorter than a
window."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from ...registry import Patch

CLASS = "vllm.model_executor.models.qwen3_omni_moe_thinker:Qwen3OmniMoeAudioEncoder"

Change = Callable[[Any], Any]


def rows_of(frames: int) -> int:
    """Rows that three convolutions of stride 2 make of so many frames."""
    for _ in range(3):
        frames = -(-frames // 2)
    return frames


def kept(lengths: list[int], window: int) -> list[int]:
    """Rows of each window that are kept, of sounds with these frames."""
    rows = []
    for frames in lengths:
        whole, rest = divmod(frames, window)
        rows += [rows_of(window)] * whole + ([rows_of(rest)] if rest else [])
    return rows


@contextmanager
def around(layer: Any, before: Change | None = None, after: Change | None = None) -> Iterator[None]:
    """`before` changes what the layer is given, `after` what it gives, meanwhile."""
    handles = []
    if before is not None:
        change = before
        handles.append(layer.register_forward_pre_hook(lambda _, given: (change(given[0]),)))
    if after is not None:
        undo = after
        handles.append(layer.register_forward_hook(lambda _, __, out: undo(out)))
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _kept_rows_alone(original: Any) -> Any:
    def forward(self: Any, input_features: Any, feature_lens: Any, aftercnn_lens: Any) -> Any:
        counts = kept(feature_lens.tolist(), 2 * self.n_window)
        state: dict[str, Any] = {}

        def select(padded: Any) -> Any:
            places = padded.new_tensor(range(padded.shape[1])).unsqueeze(0)
            state["mask"] = places < padded.new_tensor(counts).unsqueeze(1)
            return padded[state["mask"]]

        def spread(rows: Any) -> Any:
            mask = state["mask"]
            out = rows.new_zeros(*mask.shape, rows.shape[-1])
            out[mask] = rows
            return out

        with around(self.conv_out, select, spread):
            return original(self, input_features, feature_lens, aftercnn_lens)

    return forward


def _whole_windows(original: Any) -> Any:
    def forward(self: Any, input_features: Any, feature_lens: Any, aftercnn_lens: Any) -> Any:
        window = 2 * self.n_window
        longest = min(window, max(feature_lens.tolist()))

        def fill(features: Any) -> Any:
            more = window - features.shape[-1]
            silence = features.new_zeros(*features.shape[:-1], more)
            return features if not more else _joined(features, silence)

        def cut(features: Any) -> Any:
            return features[..., : rows_of(longest)]

        with around(self.conv2d1, before=fill), around(self.conv2d3, after=cut):
            return original(self, input_features, feature_lens, aftercnn_lens)

    return forward


def _joined(left: Any, right: Any) -> Any:
    # Here, since the harness reads the catalogue too, and has no torch.
    import torch

    return torch.cat([left, right], dim=-1)


PATCHES = (
    Patch(
        id="qwen3-asr-conv-out-rows",
        kind="fix",
        versions=">=0.32",
        wraps={f"{CLASS}.forward": _kept_rows_alone},
        reason="conv_out lies under the tower's prefix and is mapped the rows that are kept, but "
        "it sees whole windows, what fills up the last one of each sound among them",
    ),
    Patch(
        id="qwen3-asr-short-sounds",
        kind="fix",
        versions=">=0.32",
        wraps={f"{CLASS}.forward": _whole_windows},
        reason="windows are filled up to the longest in the batch, so that a sound shorter than "
        "one answers otherwise beside a longer one than alone",
    ),
)
