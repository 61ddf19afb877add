"""The matrix as JSON, as Markdown to paste, and as a table for the terminal."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from rich.table import Table

from mm_lora.core.version import __version__
from mm_lora.report import matrix_families, scan_lines
from mm_lora.report.matrix_rows import (
    RAN,
    Changed,
    Row,
    cell,
    changes,
    group_names,
    neighbours,
    worst,
)

_SHOWN = 40
"""How many changed checks the page lists for one pair of rows; matrix.json has all."""


def as_json(rows: Sequence[Row], argv: Sequence[str], started: str) -> dict[str, Any]:
    """matrix.json: the rows, and what changed from one that ran to the next."""
    return {
        "schema": 1,
        "tool": {"name": "mm-lora", "version": __version__},
        "argv": list(argv),
        "started": started,
        "exit_code": int(worst(rows)),
        "rows": [asdict(row) | {"scan": row.scan.as_json() if row.scan else None} for row in rows],
        "changes": [
            {
                "from": [above.version, above.patch],
                "to": [row.version, row.patch],
                "checks": [asdict(one) for one in changes(above, row)],
            }
            for above, row in neighbours(rows)
        ],
        "families": [asdict(one) for one in matrix_families.family_rows(rows)],
        "turns": [asdict(one) for one in matrix_families.turns(rows)],
    }


def markdown(rows: Sequence[Row]) -> str:
    """The table, why rows were not run, and the changes between neighbours."""
    groups = group_names(rows)
    columns = ["vLLM", "patch", *groups, "outcome"]
    lines = ["# mm-lora matrix", "", _line(columns), "|" + "---|" * len(columns)]
    lines += [_line(_cells(row, groups)) for row in rows]
    lines += [""]
    lines += [f"- {row.label}: {row.reason}" for row in rows if row.reason]
    for row in rows:
        if row.diff:
            lines.append(
                f"- {row.label}: diff `{row.diff['name']}`, sha256 `{row.diff['sha256']}`, "
                f"{len(row.diff['files'])} files"
            )
        if row.defects:
            met = ", ".join(f"{defect} ({count} checks)" for defect, count in row.defects.items())
            lines.append(f"- {row.label}: known defects: {met}")
        if row.patches:
            lines.append(f"- {row.label}: in the server: {', '.join(row.patches)}")
    lines += _families(rows)
    scans = {row.scan: row.label for row in reversed(rows) if row.scan}
    for scan, label in reversed(scans.items()):
        lines += ["", f"## Scan of {label}", "", scan_lines.summary(scan), ""]
        lines += scan_lines.lines(scan)
    for above, row in neighbours(rows):
        found = changes(above, row)
        lines += ["", f"## {above.label} → {row.label}", ""]
        lines += _changed(found) if found else ["Every check ended as above."]
    return "\n".join(lines) + "\n"


def table(rows: Sequence[Row]) -> Table:
    """For the terminal; a row that was not run has its reason below the table."""
    groups = group_names(rows)
    shown = Table(title="matrix", title_justify="left")
    for column in ("vLLM", "patch", *groups, "outcome"):
        shown.add_column(column, overflow="fold")
    for row in rows:
        shown.add_row(*_cells(row, groups))
    return shown


def family_table(rows: Sequence[Row]) -> Table | None:
    """The same by family, for the terminal; None where there is one family."""
    heads, *lines = _by_family(rows) or [[]]
    shown = Table(title="families", title_justify="left")
    for column in heads:
        shown.add_column(column, overflow="fold")
    for line in lines:
        shown.add_row(*line)
    return shown if lines else None


def _cells(row: Row, groups: Sequence[str]) -> list[str]:
    outcome = row.outcome if row.state == RAN else row.state
    return [row.version, row.patch, *(cell(row.groups.get(group, {})) for group in groups), outcome]


def _by_family(rows: Sequence[Row]) -> list[list[str]]:
    """Heads, and the cells of each family and row; empty where there is one family."""
    groups, found = group_names(rows), matrix_families.family_rows(rows)
    if len({one.family for one in found}) < 2:
        return []
    return [
        ["family", "vLLM", "patch", *groups],
        *(
            [one.family, one.version, one.patch, *(cell(one.groups.get(g, {})) for g in groups)]
            for one in found
        ),
    ]


def _families(rows: Sequence[Row]) -> list[str]:
    """A line for each family and row, and what turned; nothing where there is one family."""
    cells = _by_family(rows)
    if not cells:
        return []
    heads, *others = map(_line, cells)
    lines = ["", "## Families", "", heads, "|" + "---|" * len(cells[0]), *others, ""]
    for turn in matrix_families.turns(rows):
        for word, names in (("appeared", turn.appeared), ("lost", turn.lost)):
            if names:
                line = f"- {turn.family}, {turn.before} → {turn.after}: {word}: {', '.join(names)}"
                lines.append(line)
    return lines


def _changed(found: Sequence[Changed]) -> list[str]:
    """One line a check; ids that only one of the two has are only counted, by outcome."""
    both = [one for one in found if one.before and one.after]
    lines = [f"- `{one.id}`: {one.before} → {one.after}" for one in both[:_SHOWN]]
    lines += [f"- and {len(both) - _SHOWN} more"] if len(both) > _SHOWN else []
    for word, ids in (
        ("only before", [one.id for one in found if not one.after]),
        ("only after", [one.id for one in found if not one.before]),
    ):
        if ids:
            lines.append(f"- {word}: {', '.join(f'`{i}`' for i in ids)}")
    return lines


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(text.replace("|", "\\|") for text in cells) + " |"
