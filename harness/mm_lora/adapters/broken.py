"""Breaks a copy of an adapter to see checks fail: the server gets it, the reference does not."""

import difflib
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from mm_lora.adapters.files import configure, copy, read, read_config, write
from mm_lora.adapters.sets import known
from mm_lora.core.errors import UsageError
from mm_lora.families import registry


def _alpha(folder: Path) -> None:
    configure(folder, lora_alpha=read_config(folder)["lora_alpha"] * 1.05)


def _zero_b(folder: Path) -> None:
    _fill_b(folder, 0.0)


def _nudge(folder: Path) -> None:
    """Every value of B becomes 0.001: an adapter that should do nothing does a little."""
    _fill_b(folder, 0.001)


def _fill_b(folder: Path, value: float) -> None:
    tensors = read(folder).items()
    write(folder, {k: t.filled(value) if ".lora_B." in k else t for k, t in tensors})


def _prefix(folder: Path) -> None:
    wrong = {
        key.replace("base_model.model.", "base_model.model.other."): tensor
        for key, tensor in read(folder).items()
    }
    write(folder, wrong)


def _empty(folder: Path) -> None:
    write(folder, {})


KINDS: Mapping[str, Callable[[Path], None]] = {
    "alpha": _alpha,  # 5 % more
    "zero-b": _zero_b,
    "nudge": _nudge,
    "prefix": _prefix,
    "empty": _empty,
}


def parse(setting: str) -> tuple[str, str]:
    """`ADAPTER:KIND` as its two parts. Raises UsageError for an unknown kind."""
    name, _, kind = setting.partition(":")
    if kind not in KINDS:
        raise UsageError(f"an adapter cannot be broken by '{kind}'", f"one of {', '.join(KINDS)}")
    return name, kind


def require_adapter(name: str, own: Iterable[str]) -> None:
    """Raise UsageError for a name that no family's adapters and none of the user's `own` have: a
    typo must not break nothing."""
    every = dict.fromkeys(one for family in registry.families().values() for one in known(family))
    every |= dict.fromkeys(own)
    if name not in every:
        near = difflib.get_close_matches(name, every, n=5, cutoff=0.5)
        told = f"{', '.join(near)}, or another one; " if near else ""
        raise UsageError(
            f"there is no adapter '{name}' to break",
            f"{told}the report's table of adapters has those of a model",
        )


def broken_copy(source: Path, target: Path, kind: str) -> Path:
    """Copy the adapter folder `source` to `target` and break the copy; `kind` is one of KINDS."""
    copy(source, target)
    KINDS[kind](target)
    return target
