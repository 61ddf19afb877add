"""The files of a run beside report.json, for people and for CI."""

from mm_lora.core.report import Report
from mm_lora.core.run_folder import RunFolder
from mm_lora.report import evidence, html, junit, markdown
from mm_lora.report.view import View

PAGE = "report.html"


def write(folder: RunFolder, report: Report) -> None:
    """report.html, report.md and junit.xml, all from one view of the run. Raises ReportError."""
    view = View(report=report, steps=evidence.read(folder.path, report))
    folder.write(PAGE, html.render(view))
    folder.write("report.md", markdown.render(view))
    folder.write("junit.xml", junit.render(view))
