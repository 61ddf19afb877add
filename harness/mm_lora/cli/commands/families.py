"""`mm-lora families`: what is verified here, and what the installed vLLM claims beyond it."""

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mm_lora.checks import defects
from mm_lora.core.errors import ExitCode, InstallError
from mm_lora.core.interpreters import InterpreterFacts, facts
from mm_lora.families import registry
from mm_lora.report import family_page
from mm_lora.report.scan_lines import table as scan_table
from mm_lora.run.plan import family_flags
from mm_lora.serving.hooked_classes import HookedClass, hooked_classes
from mm_lora.serving.scan import Scan
from mm_lora.serving.scan import scan as scan_source

if TYPE_CHECKING:
    from rich.console import RenderableType

SCHEMA = 1


def run(server_python: Path | None, as_json: bool, *, scan: bool = False) -> int:
    """Print the families and the classes without one; reads vLLM's source, imports nothing of it.

    `scan`: read the classes themselves too, for what adapters will miss.

    Raises UsageError for what is no interpreter.
    """
    found = facts(server_python or Path(sys.executable))
    try:
        found.require_vllm()
        others = without_family(hooked_classes(Path(found.folder or "")))
        read = scan_source(Path(found.folder or "")) if scan else None
    except InstallError as error:
        others, read = [], Scan(without=error.what) if scan else None
    if as_json:
        print(json.dumps(document(found, others, read), ensure_ascii=False, indent=1))
        return ExitCode.PASS
    from rich.console import Console

    Console().print(rendered(found, others))
    if read is not None:
        Console().print("", scan_table(read, found.vllm or ""), sep="\n")
    return ExitCode.PASS


def write_pages(folder: Path) -> int:
    """Write a page for each family, and README.md with the list of them."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in pages().items():
        (folder / name).write_text(content, encoding="utf-8")
    print(f"{folder}: {len(registry.families())} families")
    return ExitCode.PASS


def pages() -> dict[str, str]:
    """The files of `--pages`, by name."""
    entries, families = defects.load(), registry.families()
    made = {
        f"{name}.md": family_page.page(one, family_flags(one), entries)
        for name, one in families.items()
    }
    return {"README.md": family_page.index(families), **made}


def without_family(classes: Sequence[HookedClass]) -> list[HookedClass]:
    """Those that no family here serves."""
    mine = {(one.vllm.module, one.vllm.name) for one in registry.families().values()}
    return [one for one in classes if (one.module, one.name) not in mine]


def document(
    found: InterpreterFacts, others: Sequence[HookedClass], read: Scan | None = None
) -> dict[str, Any]:
    """The JSON document of `--json`; its key `scan` is there where a scan was asked for."""
    scanned = {} if read is None else {"scan": read.as_json()}
    return {
        "schema": SCHEMA,
        "vllm": found.vllm,
        "families": [
            {
                "name": family.name,
                "models": list(family.published),
                "media": list(family.media),
                "groups": list(family.groups),
                "state": family.state,
                "reason": family.state_reason,
            }
            for family in registry.families().values()
        ],
        "classes_without_family": [
            {
                "class": one.name,
                "module": one.module,
                "architectures": list(one.architectures),
                "flag": one.flag,
            }
            for one in others
        ],
        **scanned,
    }


def rendered(found: InterpreterFacts, others: Sequence[HookedClass]) -> "RenderableType":
    """For a terminal: the families in a table, why some are verified in part, the other classes.

    The reasons are sentences, so they stand in lines of their own below the table.
    """
    from rich.console import Group
    from rich.padding import Padding
    from rich.table import Table
    from rich.text import Text

    families = registry.families().values()
    table = Table(box=None, pad_edge=False, title="Families", title_justify="left")
    for heading in ("family", "models", "media", "state"):
        table.add_column(heading, overflow="fold", no_wrap=heading in {"family", "state"})
    for family in families:
        media = ", ".join(family.media)
        table.add_row(family.name, "\n".join(family.published), media, family.state)
    reasons = [
        Padding(Text(f"{family.name}: {family.state_reason}"), (0, 0, 0, 2))
        for family in families
        if family.state_reason
    ]
    title = "Why a family is not verified as a whole"
    parts: list[RenderableType] = [table, "", title, *reasons, ""]
    if found.vllm is None:
        return Group(*parts, f"no vLLM in {found.executable}: what it claims is not known")
    title = f"Classes of vLLM {found.vllm} with the hook and no family here"
    rest = Table(box=None, pad_edge=False, title=title, title_justify="left")
    for heading in ("class", "claims the feature"):
        rest.add_column(heading, overflow="fold")
    said = {True: "yes", False: "no", None: "has no flag for it"}
    for one in others:
        rest.add_row(one.name, said[one.flag])
    return Group(*parts, rest)
