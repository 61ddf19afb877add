"""The flags of a server that decide what becomes of an adapter, out of its command line."""

import shlex
from collections.abc import Iterable

from mm_lora.checks.inspection.server import Flags
from mm_lora.core.errors import UsageError

RANKS = (1, 8, 16, 32, 64, 128, 256, 320, 512)
"""What vLLM takes as --max-lora-rank (0.32.0, config/lora.py::MaxLoRARanks)."""
_TOWER = "enable-tower-connector-lora"


def flags_of(text: str, *, pins: bool) -> Flags:
    """From a command line, of which only the flags that matter here are read.

    Raises UsageError for one that cannot be read.
    """
    try:
        words = shlex.split(text)
    except ValueError as error:
        raise UsageError(f"--flags cannot be read: {error}", "the quotes in it") from None
    found: dict[str, list[str]] = {}
    name = ""
    for word in words:
        if word.startswith("--"):
            name, equals, value = word.removeprefix("--").replace("_", "-").partition("=")
            found[name] = [value] if equals else []
        elif name:
            found[name].append(word)
    targets = [one for word in found.get("lora-target-modules", []) for one in word.split(",")]
    tower = _TOWER in found and found[_TOWER][:1] not in (["false"], ["False"])
    return Flags(
        tower=tower,
        largest=_number(found.get("max-lora-rank", ["16"])),
        targets=frozenset(targets) if targets else None,
        pins=pins,
    )


def assumed(ranks: Iterable[int], *, pins: bool) -> Flags:
    """Those under which an adapter of these ranks has the best chance."""
    largest = max(ranks, default=16)
    return Flags(tower=True, largest=next((r for r in RANKS if r >= largest), 512), pins=pins)


def spelled(flags: Flags) -> str:
    """As words of a command line."""
    words = [f"--{_TOWER}"] if flags.tower else []
    words.append(f"--max-lora-rank {flags.largest}")
    if flags.targets is not None:
        words.append(f"--lora-target-modules {' '.join(sorted(flags.targets))}")
    return " ".join(words)


def _number(words: list[str]) -> int:
    try:
        return int(words[0])
    except (ValueError, IndexError):
        raise UsageError(f"--max-lora-rank is no number: {' '.join(words)}", "--flags") from None
