"""Shards: one run's checks spread over machines, whole servers at a time; pure functions."""

from dataclasses import dataclass
from typing import Any

from mm_lora.core.errors import UsageError


@dataclass(frozen=True, kw_only=True)
class Shard:
    """The part `index` of `count`, counted from 1."""

    index: int
    count: int

    def __str__(self) -> str:
        """As `--set shard` takes it."""
        return f"{self.index}/{self.count}"

    def has(self, server_key: str | None) -> bool:
        """Whether the checks of that server are in this part; without a server they are in 1.

        By the key of the server's spec alone, so that every machine finds the same.
        """
        if server_key is None:
            return self.index == 1
        return int(server_key, 16) % self.count == self.index - 1

    def as_json(self, planned: list[str]) -> dict[str, Any]:
        """For the report. `planned`: the ids of all parts, so that a merge can see gaps."""
        return {"index": self.index, "count": self.count, "planned": planned}


def parse(text: str, told_as: str = "--set shard=") -> Shard:
    """`2/8`. Raises UsageError."""
    index, slash, count = text.partition("/")
    if not (slash and index.isdigit() and count.isdigit() and 1 <= int(index) <= int(count)):
        raise UsageError(
            f"{told_as}{text} is not a shard", "I/N with I from 1 to N, for example 2/8"
        )
    return Shard(index=int(index), count=int(count))
