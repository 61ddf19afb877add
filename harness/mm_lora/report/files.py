"""The files of a run beside report.json, for people and for CI."""

from mm_lora.core.report import Report
from mm_lora.core.run_folder import RunFolder
from mm_lora.report import dotplot, junit, markdown


def write(folder: RunFolder, report: Report) -> None:
    """junit.xml, report.md and, where numbers were compared, numerics.svg. Raises ReportError."""
    folder.write("junit.xml", junit.render(report))
    folder.write("report.md", markdown.render(report))
    if picture := dotplot.render(report):
        folder.write("numerics.svg", picture)
