"""`mm-lora report merge`: the shards' folders in, one run folder out."""

import os
from collections.abc import Sequence
from pathlib import Path

from mm_lora.checks import defects
from mm_lora.core.journal import read_report
from mm_lora.core.run_folder import RunFolder, find_run
from mm_lora.core.typed import plain
from mm_lora.report import files, github, mutant_page
from mm_lora.report.merge import merge
from mm_lora.report.terminal import render, wide_console
from mm_lora.report.view import View
from mm_lora.run import mutant_merge


def run(names: Sequence[str], reports: Path) -> int:
    """Merge the runs `names` into a new folder below `reports`; the exit code of the whole run.

    Raises UsageError for what is no complete set of shards.
    """
    folders = [find_run(name, reports) for name in names]
    if all((folder / mutant_merge.FILE).is_file() for folder in folders):
        return _mutants(folders, reports)
    shards = {folder.resolve().name: read_report(folder) for folder in folders}
    whole = merge(shards, defects.load())
    folder = RunFolder.create(reports)
    folder.write_json("report.json", whole.as_json())
    files.write(folder, whole)
    view = View(report=whole)
    render(view, wide_console(), str(folder.path))
    github.tell(view, os.environ)
    return whole.exit_code


def _mutants(folders: Sequence[Path], reports: Path) -> int:
    """The same of runs of mutants: mutants.json and mutants.md of the whole."""
    shards = {folder.resolve().name: mutant_merge.read(folder) for folder in folders}
    whole = mutant_merge.merge(shards)
    summary = mutant_merge.summary(whole)
    folder = RunFolder.create(reports)
    folder.write_json(mutant_merge.FILE, plain(whole))
    folder.write("mutants.md", mutant_page.markdown(summary))
    mutant_page.show(summary, wide_console(), str(folder.path))
    assert whole.exit_code is not None
    return whole.exit_code
