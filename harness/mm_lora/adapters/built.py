"""An adapter on disk, with what it covers."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mm_lora.adapters.spec import AdapterSpec


@dataclass(frozen=True)
class BuiltAdapter:
    """An adapter on disk. `coverage`: rows {"group", "modules", "tensors", "parameters"}.

    `spec` is None for an adapter of the user's. `bytes`: size of its tensors' file.
    """

    name: str
    path: Path
    spec: AdapterSpec | None
    coverage: Sequence[Mapping[str, Any]]
    bytes: int

    @property
    def modules(self) -> int:
        """How many modules it targets."""
        return sum(row["modules"] for row in self.coverage)
