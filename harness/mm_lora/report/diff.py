"""What two stored runs say differently: which vLLM, which checks, which numbers."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from mm_lora.report.matrix_rows import Changed, changes, ran

Report = Mapping[str, Any]

WELL = ("pass", "known-defect", "fixed-upstream", "skip")
"""Outcomes that lose nothing beside each other. A fixed-upstream check passes; inside its entry's
versions the run ends with 1 all the same, since the entry is stale."""


@dataclass(frozen=True)
class Moved:
    """A check that ended alike with another number. `before`, `after`: its error, in logprob."""

    id: str
    before: float
    after: float
    tolerance: float


@dataclass(frozen=True)
class Difference:
    """`places`: what was run differs, as (name, before, after). `changed`: outcomes. `moved`:
    errors that differ by a tenth of their tolerance or more, largest move first."""

    places: tuple[tuple[str, str, str], ...]
    changed: tuple[Changed, ...]
    moved: tuple[Moved, ...]

    @property
    def worse(self) -> list[Changed]:
        """Checks that ended well in the first run and do not in the second."""
        return [c for c in self.changed if c.before in WELL and c.after and c.after not in WELL]


def compare(first: Report, second: Report) -> Difference:
    """Two reports of schema 1. Checks that only one of them has are `changed`, one side empty."""
    rows = [ran("", "", report["exit_code"], report, "") for report in (first, second)]
    mine, other = _places(first), _places(second)
    places = tuple((key, mine[key], other[key]) for key in mine if mine[key] != other[key])
    return Difference(places, tuple(changes(*rows)), tuple(_moved(first, second)))


def _places(report: Report) -> dict[str, str]:
    vllm, around = report.get("vllm", {}), report.get("environment", {})
    reference = around.get("reference", {})
    patches = dict.fromkeys(p["id"] for s in report["servers"] for p in s["patches"])
    return {
        "tool": f"{report['tool']['name']} {report['tool']['version']}",
        "vLLM": f"{vllm.get('distribution') or ''} {vllm.get('version') or 'unknown'}".strip(),
        "diff": str(vllm.get("diff", {}).get("sha256", "none")),
        "profile": str(report["profile"]),
        "seed": str(report["seed"]),
        "reference": f"transformers {reference.get('transformers', 'unknown')}",
        "patches in the server": ", ".join(patches) or "none",
    }


def _moved(first: Report, second: Report) -> list[Moved]:
    before = {check["id"]: check for check in first["checks"]}
    found = []
    for check in second["checks"]:
        old = before.get(check["id"])
        if old is None or old["outcome"] != check["outcome"]:
            continue
        errors, tolerance = (old["error"], check["error"]), check["tolerance"]
        if not tolerance or not all(isinstance(one, float) for one in errors):
            continue
        if abs(errors[0] - errors[1]) >= tolerance / 10:
            found.append(Moved(check["id"], *errors, tolerance))
    return sorted(found, key=lambda one: -abs(one.after - one.before))
