"""Writes docs/reference anew: `python -m mm_lora.cli.reference docs/reference`."""

import sys
from collections.abc import Iterator
from pathlib import Path

from mm_lora.cli.reference import checks, exit_codes, outcomes, profiles, settings
from mm_lora.core.run_folder import RunFolder
from mm_lora.run.case_list import cases


def pages() -> Iterator[tuple[str, str]]:
    """(file name, text) of every page."""
    yield "checks.md", checks.page(cases())
    yield "settings.md", settings.page()
    yield "profiles.md", profiles.page()
    yield "outcomes.md", outcomes.page()
    yield "exit-codes.md", exit_codes.page()


def main(folder: Path) -> None:
    """Write the pages into a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in pages():
        print(RunFolder(folder).write(name, text))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
