"""When servers started and served and when checks were judged, in percent of the run."""

from collections.abc import Iterator
from dataclasses import dataclass

from mm_lora.core.record import Check
from mm_lora.core.report import Report
from mm_lora.core.timings import Part

SLOWEST = 10
_OF_SERVER = ("start server", "stop server", "first answer", "later answers")


@dataclass(frozen=True)
class Span:
    """A stretch of the run: places in percent. `kind`: its colour; `said` is for pointers."""

    x: float
    width: float
    kind: str
    said: str


@dataclass(frozen=True)
class Lane:
    """One server, or one kind of other work."""

    name: str
    spans: list[Span]
    words: str


@dataclass(frozen=True)
class Timeline:
    """`ticks`: (percent, label); `slowest`: the checks that took most, slowest first."""

    lanes: list[Lane]
    ticks: list[tuple[float, str]]
    slowest: list[Check]


def timeline(report: Report) -> Timeline | None:
    """None where nothing was judged. Without stored times, as in a merged run, only `slowest`."""
    if not report.checks:
        return None
    slowest = sorted(report.checks, key=lambda check: -check.duration_s)[:SLOWEST]
    if not report.timings or not report.duration_s:
        return Timeline([], [], slowest)
    lanes = [*_checks(report), *_servers(report), *_others(report)]
    return Timeline(lanes, _ticks(report.duration_s), slowest)


def _checks(report: Report) -> Iterator[Lane]:
    timed = [check for check in report.checks if check.began_s is not None]
    spans = [_span(report, c.began_s or 0.0, c.duration_s, str(c.outcome), _said(c)) for c in timed]
    if spans:
        total = sum(check.duration_s for check in timed)
        yield Lane("checks", spans, f"{len(timed)}, {total:.0f} s")


def _said(check: Check) -> str:
    return f"{check.id}, {check.duration_s:.1f} s"


def _servers(report: Report) -> Iterator[Lane]:
    parts: dict[str, dict[str, Part]] = {}
    for part in report.timings:
        if part.part in _OF_SERVER:
            parts.setdefault(part.what, {})[part.part] = part
    for name, mine in parts.items():
        start = mine.get("start server")
        if start is None:
            continue
        ready, stop = start.ended_s, mine.get("stop server")
        end = stop.began_s if stop else report.duration_s
        spans = [
            _span(report, start.began_s, ready - start.began_s, "start", f"{name} starts"),
            _span(report, ready, end - ready, "serve", f"{name} serves"),
        ]
        yield Lane(f"server {name}", spans, f"start {ready - start.began_s:.0f} s")


def _others(report: Report) -> Iterator[Lane]:
    for part in report.timings:
        if part.part in _OF_SERVER or part.seconds < 0.01 * report.duration_s:
            continue
        began, ended = part.began_s, part.ended_s
        name = f"{part.part} {part.what}".strip()
        words = f"{part.seconds:.0f} s in {part.times}"
        yield Lane(name, [_span(report, began, ended - began, "other", f"{name}: {words}")], words)


def _span(report: Report, began: float, took: float, kind: str, said: str) -> Span:
    whole = report.duration_s
    x = min(100.0, 100 * began / whole)
    return Span(round(x, 2), round(max(0.15, min(100 - x, 100 * took / whole)), 2), kind, said)


def _ticks(seconds: float) -> list[tuple[float, str]]:
    steps = (1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 1200, 1800, 3600, 7200, 14400)
    step = next((one for one in steps if seconds / one <= 6), 6 * 3600)
    places = range(step, int(seconds), step)
    return [(round(100 * at / seconds, 2), _clock(at)) for at in places]


def _clock(seconds: int) -> str:
    return f"{seconds} s" if seconds < 60 else f"{seconds / 60:g} min"
