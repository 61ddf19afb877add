"""The numbers of a server's /metrics (Prometheus' text format): name and labels → value."""

import re
from collections.abc import Mapping
from dataclasses import dataclass

_LINE = re.compile(r"^(?P<name>[\w:]+)(?:\{(?P<labels>.*)\})? (?P<value>\S+)")
_LABEL = re.compile(r'(\w+)="((?:[^"\\]|\\.)*)"')


@dataclass(frozen=True)
class Samples:
    """Every sample of one reading, in the order of the text."""

    rows: tuple[tuple[str, Mapping[str, str], float], ...]

    def total(self, name: str, **labels: str) -> float:
        """The sum of the samples of that name with these labels, whatever others they have; 0.0
        where there are none."""
        return sum(
            value
            for other, given, value in self.rows
            if other == name and labels.items() <= dict(given).items()
        )


def read_metrics(text: str) -> Samples:
    """The samples in a text; lines of another shape, such as comments, are left out."""
    rows = []
    for line in text.splitlines():
        found = _LINE.match(line)
        if found:
            labels = dict(_LABEL.findall(found["labels"] or ""))
            rows.append((found["name"], labels, float(found["value"])))
    return Samples(tuple(rows))
