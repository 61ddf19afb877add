"""What a start, and a check of each group, took where it was measured: fixtures/costs.toml."""

from collections.abc import Mapping
from dataclasses import dataclass

from mm_lora.core import typed
from mm_lora.core.resources import fixtures_dir


@dataclass(frozen=True)
class Costs:
    """costs.toml: what a start, its measuring, and a check of each group took, in seconds."""

    machine: str
    server_ready_s: float
    noise_s: float
    seconds: Mapping[str, float]


def read() -> Costs:
    """The costs that come with the tool."""
    return typed.read_toml(fixtures_dir() / "costs.toml", Costs)
