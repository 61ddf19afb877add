"""Gemma 4's audio tower: a fix for sounds of different lengths in one step, and seeded mistakes in
the counts of sounds."""

from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

from ...mutants.mapping import miscount, miscounted
from ...registry import Patch
from ..qwen3_asr.encoder import around
from .hooks import HOOK, OWNER, Rows

FRAMES = 4
"""That become one row."""
SHARED = "relative_k_proj"
"""A layer that is given the distances which attention reaches, not the rows of a sound."""


def rows_of(frames: int) -> int:
    """Rows of a sound of so many frames."""
    return -(-frames // FRAMES)


def adapted(*parts: Any) -> Iterator[Any]:
    """The layers with LoRA below these modules whose rows are those of sounds."""
    for part in parts:
        for name, layer in part.named_modules():
            if hasattr(layer, "lora_a_stacked") and not name.endswith(SHARED):
                yield layer


def _own_rows_alone(original: Any) -> Any:
    def _process_audio_input(self: Any, audio_input: Any) -> Any:
        counts = [rows_of(len(mask)) for mask in audio_input["input_features_mask"]]
        if len(set(counts)) < 2:
            return original(self, audio_input)

        def select(padded: Any) -> Any:
            return padded[_kept(padded, counts)]

        def spread(rows: Any) -> Any:
            out = rows.new_zeros(len(counts), max(counts), rows.shape[-1])
            out[_kept(out, counts)] = rows
            return out

        def both(layer: Any) -> Any:
            # vLLM's own layers give a bias beside the rows.
            def after(made: Any) -> Any:
                return (spread(made[0]), *made[1:]) if isinstance(made, tuple) else spread(made)

            return around(layer, select, after)

        with ExitStack() as stack:
            for layer in adapted(self.audio_tower, self.embed_audio):
                stack.enter_context(both(layer))
            return original(self, audio_input)

    return _process_audio_input


def _kept(padded: Any, counts: list[int]) -> Any:
    places = padded.new_tensor(range(padded.shape[1])).unsqueeze(0)
    return places < padded.new_tensor(counts).unsqueeze(1)


def _convolved_in_rows(original: Any) -> Any:
    # By these names: vLLM looks at them.
    def init(self: Any, *, vllm_config: Any, prefix: str = "") -> None:
        original(self, vllm_config=vllm_config, prefix=prefix)
        for layer in self.audio_tower.layers if self.audio_tower is not None else ():
            layer.lconv1d.depthwise_conv1d.register_forward_hook(_rows_contiguous)

    return init


def _rows_contiguous(module: Any, given: Any, made: Any) -> Any:
    """(sounds, width, rows), laid out so that its transposed view is contiguous."""
    return made.transpose(1, 2).contiguous().transpose(1, 2)


def frames_counted(model: Any, tower: int, connector: int) -> Rows:
    """The tower is counted a row for each frame."""
    return FRAMES * tower, connector


def one_halving_forgotten(model: Any, tower: int, connector: int) -> Rows:
    """Twice the rows: those between the two convolutions."""
    return 2 * tower, connector


def projector_halved(model: Any, tower: int, connector: int) -> Rows:
    """The projector is counted half of its rows."""
    return tower, connector // 2


PATCHES = (
    Patch(
        id="gemma4-convolution-contiguous",
        kind="compat",
        platform="cpu",
        versions=">=0.32",
        wraps={f"{OWNER}.__init__": _convolved_in_rows},
        reason="Gemma4AudioLightConv1d.forward hands oneDNN a transposed view, which wants unit "
        "stride on the last axis and raises",
    ),
    Patch(
        id="gemma4-sounds-own-rows",
        kind="fix",
        versions=">=0.32",
        wraps={f"{OWNER}._process_audio_input": _own_rows_alone},
        reason="sounds of a step are filled up to the longest, each is mapped its own rows: what "
        "follows a shorter one takes the adapters of others, and there are too few",
    ),
    *(
        miscounted(f"gemma4-sounds-{name}", HOOK, miscount(mistake), reason, ("gemma4-sounds",))
        for name, mistake, reason in (
            ("frames-counted", frames_counted, "tower rows by frames"),
            ("one-halving-forgotten", one_halving_forgotten, "twice the tower's rows"),
            ("projector-halved", projector_halved, "half of the projector's rows"),
        )
    ),
)
