"""The server spec: all that makes two servers different; equal specs share one server."""

import hashlib
import json
from dataclasses import dataclass
from typing import Any

STARTS = ("auto", "fast", "plain")

PlainValue = str | int | float | bool | list[str]
"""A flag's value as a profile or a case writes it."""

FlagValue = str | tuple[str, ...] | None
"""A flag's value for a command line: None for a bare flag, a tuple for several words."""

_NAMED = 4
"""Patches that a label names: a folder's name has at most 255 bytes."""


@dataclass(frozen=True, kw_only=True)
class ServerSpec:
    """Frozen and hashable, without a path of this machine.

    `flags` are pairs of a vLLM flag's name without dashes and its value. `patches` are patch ids;
    "auto" stands for every compat patch that fits, the empty tuple for none; "id@pattern" acts only
    while a check is judged that the pattern names. `start` is one of STARTS: "auto" is fast where
    this vLLM and platform allow it.
    """

    model: str
    adapters: tuple[str, ...] = ()
    flags: tuple[tuple[str, FlagValue], ...] = ()
    env: tuple[tuple[str, str], ...] = ()
    patches: tuple[str, ...] = ("auto",)
    start: str = "auto"
    probe: bool = False

    def __post_init__(self) -> None:
        if self.start not in STARTS:
            raise ValueError(f"start is {self.start!r}, not one of {', '.join(STARTS)}")

    @property
    def key(self) -> str:
        """Eight hex digits, the same for equal specs in every run: for file names."""
        text = json.dumps(self.as_json(), sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:8]

    @property
    def label(self) -> str:
        """Short text for progress lines, and for the name of the server's folder."""
        parts = [self.model, f"{len(self.adapters)} adapters"]
        if (ranks := self.number("tensor-parallel-size", 1)) > 1:
            parts.append(f"tp {ranks}")
        if (engines := self.number("data-parallel-size", 1)) > 1:
            parts.append(f"dp {engines}")
        named = [patch for patch in self.patches if patch != "auto" and "@" not in patch]
        parts += named if len(named) <= _NAMED else [f"{len(named)} patches"]
        in_turn = {patch.partition("@")[0] for patch in self.patches if "@" in patch}
        if in_turn:
            parts.append(f"{len(in_turn)} in turn")
        return ", ".join(parts)

    def flag(self, name: str) -> FlagValue:
        """The last value of a flag; None when it is absent or a switch."""
        return next((value for key, value in reversed(self.flags) if key == name), None)

    def number(self, name: str, default: int) -> int:
        """A flag's value as a whole number, `default` where the flag is absent."""
        value = self.flag(name)
        return int(value) if isinstance(value, str) else default

    def has_flag(self, name: str) -> bool:
        """Whether the flag is given at all."""
        return any(key == name for key, _ in self.flags)

    def as_json(self) -> dict[str, Any]:
        """For report.json and for the key."""
        return {
            "model": self.model,
            "adapters": list(self.adapters),
            "flags": [list(flag) for flag in self.flags],
            "env": dict(self.env),
            "patches": list(self.patches),
            "start": self.start,
            "probe": self.probe,
        }
