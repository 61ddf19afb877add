"""An adapter on disk, with what it covers."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mm_lora.adapters.spec import AdapterSpec
from mm_lora.families.family import Family
from mm_lora.families.modules import LANGUAGE


@dataclass(frozen=True)
class BuiltAdapter:
    """An adapter on disk. `coverage`: rows {"group", "modules", "tensors", "parameters"}.

    `spec` is None for an adapter of the user's. `bytes`: size of its tensors' file. `plain`: a
    folder with the same numbers as PEFT spells them, where `path` has other keys.
    """

    name: str
    path: Path
    spec: AdapterSpec | None
    coverage: Sequence[Mapping[str, Any]]
    bytes: int
    plain: Path | None = None

    @property
    def modules(self) -> int:
        """How many modules it targets."""
        return sum(row["modules"] for row in self.coverage)

    def reaches_language(self, family: Family) -> bool:
        """Whether it changes the language model, and so the answer to a text without picture."""
        names = [row["group"] for row in self.coverage]
        return any(
            name not in family.groups or family.groups[name].role == LANGUAGE for name in names
        )
