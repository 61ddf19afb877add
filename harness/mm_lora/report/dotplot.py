"""The numbers of a run as a picture: error and effect of every adapter on one logarithmic scale.

A linear scale shows either that 1e-6 agrees or that 0.1 does not; this one shows both.
"""

import math
from xml.sax.saxutils import escape

from mm_lora.core.record import Check
from mm_lora.core.report import Report

LEAST, MOST = 1e-8, 1e2
LEFT, WIDTH, ROW, TOP, BOTTOM = 260, 620, 18, 56, 30
COLOURS = {"pass": "#2a7f3b", "known-defect": "#0a84a5", "fail": "#c62828", "void": "#b58900"}
EFFECT = "#8a8a8a"
LEGEND = "dots: |server - reference|, rings: |reference - base|, in logprob; dashed: tolerance"


def render(report: Report) -> str:
    """An SVG of the checks of group numerics; the empty string where there is none to show.

    One row for each model and adapter, all in logprob. Dots: |server - reference| of each answer,
    coloured by outcome. Rings: |reference - base|. Dashed: the tolerance.
    """
    rows: dict[str, list[Check]] = {}
    for check in report.checks:
        if check.group == "numerics" and check.error is not None:
            _, model, adapter, _ = check.id.split("/", 3)
            rows.setdefault(f"{model}/{adapter}", []).append(check)
    if not rows:
        return ""
    height = TOP + ROW * len(rows) + BOTTOM
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{LEFT + WIDTH + 20}" height="{height}" '
        'font-family="sans-serif" font-size="12">',
        '<rect width="100%" height="100%" fill="white"/>',
        f'<text x="10" y="18">{_title(report)}</text>',
        f'<text x="10" y="36" fill="#555">{LEGEND}</text>',
        *_axis(height),
    ]
    tolerances = {c.tolerance for checks in rows.values() for c in checks if c.tolerance}
    parts += [_line(_x(one), height, "#c62828", "4 3") for one in sorted(tolerances)]
    for number, (name, checks) in enumerate(rows.items()):
        y = TOP + ROW * number + ROW / 2
        parts.append(f'<text x="{LEFT - 10}" y="{y + 4}" text-anchor="end">{escape(name)}</text>')
        for check in checks:
            parts += _dots(check, y)
    return "\n".join([*parts, "</svg>"]) + "\n"


def _title(report: Report) -> str:
    return escape(
        f"mm-lora {report.tool.version}: {report.served.label}, profile {report.profile}, "
        f"{report.started}"
    )


def _x(value: float) -> float:
    """Where a value is, in pixels; what is off the scale sits on its end."""
    inside = min(max(value, LEAST), MOST) if math.isfinite(value) else MOST
    return LEFT + WIDTH * math.log10(inside / LEAST) / math.log10(MOST / LEAST)


def _axis(height: int) -> list[str]:
    parts = []
    for power in range(round(math.log10(LEAST)), round(math.log10(MOST)) + 1):
        x = _x(10.0**power)
        parts += [
            _line(x, height, "#dddddd"),
            f'<text x="{x}" y="{height - 10}" text-anchor="middle" fill="#555">1e{power}</text>',
        ]
    return parts


def _line(x: float, height: int, colour: str, dashes: str = "") -> str:
    dashed = f' stroke-dasharray="{dashes}"' if dashes else ""
    return f'<line x1="{x}" y1="{TOP}" x2="{x}" y2="{height - BOTTOM}" stroke="{colour}"{dashed}/>'


def _dots(check: Check, y: float) -> list[str]:
    error = math.inf if check.error is None else check.error
    said = escape(f"{check.id}: {check.outcome}, error {error:.3g}")
    colour = COLOURS.get(check.outcome, "#555555")
    parts = [
        f'<circle cx="{_x(error)}" cy="{y}" r="4" fill="{colour}" fill-opacity="0.8">'
        f"<title>{said}</title></circle>"
    ]
    if check.effect is not None:
        parts.append(
            f'<circle cx="{_x(check.effect)}" cy="{y}" r="4" fill="none" stroke="{EFFECT}"/>'
        )
    return parts
