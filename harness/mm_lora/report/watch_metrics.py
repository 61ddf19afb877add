"""A pass as metrics in Prometheus' text format, for the textfile collector of node_exporter."""

import math
from collections.abc import Callable, Iterator
from datetime import datetime

from mm_lora.checks.watching.findings import Finding, Pass
from mm_lora.core.outcomes import Outcome

Samples = list[tuple[dict[str, str], float]]

JUDGED = (Outcome.PASS, Outcome.FAIL)


def render(one: Pass) -> str:
    """The text; every metric is a gauge."""
    began = datetime.fromisoformat(one.started).timestamp()
    lines: list[str] = []
    for name, text, samples in (
        ("complete", "1 if the pass came to its end.", _single(float(not one.trouble))),
        ("exit_code", "0 passed, 1 failed, 3 trouble, 4 no adapters.", _single(one.exit_code)),
        ("timestamp_seconds", "When the pass ended.", _single(began + one.duration_s)),
        ("duration_seconds", "How long the pass took.", _single(one.duration_s)),
        ("adapters", "Adapters that were to be judged.", _single(len(one.adapters))),
        ("requests", "Requests that the pass sent.", _single(one.requests)),
        ("noise_logprob", "Between right answers of the base.", _single(one.noise)),
        ("tolerance_logprob", "What is allowed.", _single(one.tolerance)),
        ("judged", "1 if the check passed or failed, 0 if it could not tell.", _each(one, _judged)),
        ("failed", "1 if the check failed, else 0.", _each(one, _failed)),
        ("difference_logprob", "What the check measured.", _each(one, _difference)),
    ):
        if samples:
            metric = f"mm_lora_watch_{name}"
            lines += [f"# HELP {metric} {text}", f"# TYPE {metric} gauge"]
            lines += [f"{metric}{_labels(labels)} {_number(value)}" for labels, value in samples]
    return "".join(f"{line}\n" for line in lines)


def _single(value: float | None) -> Samples:
    return [] if value is None else [({}, float(value))]


def _each(one: Pass, value: Callable[[Finding], float | None]) -> Samples:
    def found() -> Iterator[tuple[dict[str, str], float]]:
        for finding in one.findings:
            measured = value(finding)
            if finding.outcome is not Outcome.SKIP and measured is not None:
                yield {"adapter": finding.adapter, "check": finding.check}, measured

    return list(found())


def _judged(finding: Finding) -> float:
    return float(finding.outcome in JUDGED)


def _failed(finding: Finding) -> float:
    return float(finding.outcome is Outcome.FAIL)


def _difference(finding: Finding) -> float | None:
    return finding.difference


def _number(value: float) -> str:
    """Prometheus' spelling: `+Inf` and `NaN` for what is not finite, seconds in full."""
    if math.isnan(value):
        return "NaN"
    return f"{value:.14g}" if math.isfinite(value) else f"{value:+}".title()


def _labels(labels: dict[str, str]) -> str:
    told = ",".join(f'{name}="{_escaped(value)}"' for name, value in labels.items())
    return f"{{{told}}}" if told else ""


def _escaped(value: str) -> str:
    return value.replace("\\", r"\\").replace("\n", r"\n").replace('"', r"\"")
