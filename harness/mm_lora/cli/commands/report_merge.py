"""`mm-lora report merge`: the shards' folders in, one run folder out."""

import os
from collections.abc import Sequence
from pathlib import Path

from mm_lora.checks import defects
from mm_lora.core.journal import read_report
from mm_lora.core.run_folder import RunFolder, find_run
from mm_lora.report import files, github
from mm_lora.report.merge import merge
from mm_lora.report.terminal import render, wide_console
from mm_lora.report.view import View


def run(names: Sequence[str], reports: Path) -> int:
    """Merge the runs `names` into a new folder below `reports`; the exit code of the whole run.

    Raises UsageError for what is no complete set of shards.
    """
    folders = [find_run(name, reports) for name in names]
    shards = {folder.resolve().name: read_report(folder) for folder in folders}
    whole = merge(shards, defects.load())
    folder = RunFolder.create(reports)
    folder.write_json("report.json", whole.as_json())
    files.write(folder, whole)
    view = View(report=whole)
    render(view, wide_console(), str(folder.path))
    github.tell(view, os.environ)
    return whole.exit_code
