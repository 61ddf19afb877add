"""report.html: a run on one page, the verdict first, with pictures of what was measured."""

from mm_lora.report import page
from mm_lora.report.pictures.batches import batch_timelines
from mm_lora.report.pictures.coverage import coverage_maps
from mm_lora.report.pictures.dots import dot_plot
from mm_lora.report.pictures.flow import model_flows
from mm_lora.report.pictures.number_line import number_line
from mm_lora.report.pictures.ribbon import ribbons
from mm_lora.report.pictures.timeline import timeline
from mm_lora.report.view import View

WHOLE = 12
"""So many checks of one cause are shown in full; the rest are in the list of all checks."""

MOST_ROWS = 200
"""So many rows of a table are on the page; report.json has all."""


def render(view: View) -> str:
    """The page of a run."""
    report = view.report
    tables = [table for table in report.tables.values() if table.rows]
    return page.render(
        "report.html",
        view=view,
        report=report,
        tables=tables,
        flows=model_flows(view.models, report.tables.get("token-flow")),
        dots=dot_plot(report.checks),
        coverage=coverage_maps(report.tables),
        batches=batch_timelines(view.steps),
        time=timeline(report),
        number_line=number_line,
        ribbons=ribbons,
        whole=WHOLE,
        most_rows=MOST_ROWS,
    )
