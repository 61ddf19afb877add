"""What the static scan says: a finding for each thing that a user of a class would notice."""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any


class Kind(StrEnum):
    """What is wrong with a class, or with a layer of its tower or connector."""

    FLAG = "flag-false"
    """The class counts rows, but does not claim the feature."""
    NO_HOOK = "no-hook"
    """The class names a tower or connector, but does not count their rows."""
    NO_LORA = "no-lora"
    """The class counts rows, but takes no adapter at all."""
    PREFIX = "prefix-matches-nothing"
    """`get_mm_mapping` names a prefix that no module has."""
    UNCOVERED = "no-prefix"
    """A layer that LoRA could wrap lies under no prefix."""
    FUSED = "fused-without-entry"
    """A layer of several projections has no fitting entry in `packed_modules_mapping`."""
    SINGLE = "packed-in-one-tensor"
    """A layer whose LoRA layer takes one tensor, and gets those of several projections."""
    PLAIN = "plain-linear"
    """A torch Linear, which no LoRA layer replaces."""
    CONVOLUTION = "convolution"
    """A convolution, which no LoRA layer replaces."""
    NO_WRAPPER = "no-lora-layer"
    """A linear layer of vLLM's whose class no LoRA layer replaces."""
    UNKNOWN = "unknown"
    """The scan cannot decide: the module is made at run time."""


@dataclass(frozen=True, kw_only=True)
class Finding:
    """`name`: the model class. `path`: the module, with `*` for any index, "" for the class itself.
    `file`, `line`: where it is made, below vLLM's folder. `notice`: what a user would notice.
    `evidence`: what was read there.
    """

    kind: Kind
    name: str
    path: str
    file: str
    line: int
    notice: str
    evidence: str


@dataclass(frozen=True, kw_only=True)
class Scan:
    """What was read of one vLLM: how many `classes`, how many `layers` of towers and connectors.

    `without`: why nothing could be scanned, "" where it could.
    """

    classes: tuple[str, ...] = ()
    layers: int = 0
    findings: tuple[Finding, ...] = ()
    without: str = ""

    @property
    def counts(self) -> Mapping[str, int]:
        """Kind → how many findings, in the order of the kinds."""
        found = Counter(finding.kind for finding in self.findings)
        return {str(kind): found[kind] for kind in Kind if found[kind]}

    def as_json(self) -> dict[str, Any]:
        """The key `scan` of `families --json`, and of a row of the matrix."""
        return {
            "classes": list(self.classes),
            "layers": self.layers,
            "counts": dict(self.counts),
            "findings": [_spelled(asdict(finding)) for finding in self.findings],
            "without": self.without,
        }


def _spelled(finding: dict[str, Any]) -> dict[str, Any]:
    return {"class" if key == "name" else key: value for key, value in finding.items()}


@dataclass(frozen=True)
class Shared:
    """The same finding of several classes: they inherit it, or share a tower."""

    finding: Finding
    classes: tuple[str, ...]


def shared(findings: Iterable[Finding]) -> list[Shared]:
    """Findings for people, the gravest kind first, one for all the classes that have it."""
    classes: dict[tuple[str, ...], list[Finding]] = {}
    for one in findings:
        where = (one.path, f"{one.file}:{one.line}") if one.path else ("", "")
        key = (str(one.kind), *where, one.notice, "" if not one.path else one.evidence)
        classes.setdefault(key, []).append(one)
    order = list(Kind)
    found = [Shared(some[0], tuple(one.name for one in some)) for some in classes.values()]
    return sorted(found, key=lambda one: order.index(one.finding.kind))
