"""Mutants: seeded mistakes in Qwen3-ASR's count hook, which the row checks must find."""

from typing import Any

from ...mutants.mapping import miscount, miscounted

HOOK = (
    "vllm.model_executor.models.qwen3_asr:Qwen3ASRForConditionalGeneration.get_mm_lora_token_counts"
)
WINDOW_ROWS = 13


def whole_windows(model: Any, tower: int, connector: None) -> tuple[int, None]:
    """The last window of a sound is counted as if it were whole."""
    return -(-tower // WINDOW_ROWS) * WINDOW_ROWS, connector


def eighths(model: Any, tower: int, connector: None) -> tuple[int, None]:
    """Twelve rows a window: eight frames a row, though each window is rounded up by itself."""
    return tower - tower // WINDOW_ROWS, connector


def before_halving(model: Any, tower: int, connector: None) -> tuple[int, None]:
    """The rows between the second convolution and the third."""
    return 2 * tower, connector


PATCHES = tuple(
    miscounted(f"qwen3-asr-{name}", HOOK, miscount(mistake), reason, ("qwen3-asr",))
    for name, mistake, reason in (
        ("whole-windows", whole_windows, "a sound's last window counted as a whole one"),
        ("windows-not-rounded", eighths, "12 rows a window instead of 13"),
        ("one-halving-forgotten", before_halving, "twice the rows, one convolution forgotten"),
    )
)
