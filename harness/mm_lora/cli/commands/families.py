"""`mm-lora families`: what is verified here, and what the installed vLLM claims beyond it."""

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mm_lora.core.errors import ExitCode, InstallError
from mm_lora.core.interpreters import InterpreterFacts, facts
from mm_lora.families import registry
from mm_lora.serving.hooked_classes import HookedClass, hooked_classes

if TYPE_CHECKING:
    from rich.console import RenderableType

SCHEMA = 1


def run(server_python: Path | None, as_json: bool) -> int:
    """Print the families and the classes without one; reads vLLM's source, imports nothing of it.

    Raises UsageError for what is no interpreter.
    """
    found = facts(server_python or Path(sys.executable))
    try:
        found.require_vllm()
        others = without_family(hooked_classes(Path(found.folder or "")))
    except InstallError:
        others = []
    if as_json:
        print(json.dumps(document(found, others), ensure_ascii=False, indent=1))
        return ExitCode.PASS
    from rich.console import Console

    Console().print(rendered(found, others))
    return ExitCode.PASS


def without_family(classes: Sequence[HookedClass]) -> list[HookedClass]:
    """Those that no family here serves."""
    mine = {(one.vllm.module, one.vllm.name) for one in registry.families().values()}
    return [one for one in classes if (one.module, one.name) not in mine]


def document(found: InterpreterFacts, others: Sequence[HookedClass]) -> dict[str, Any]:
    """The JSON document of `--json`."""
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
    }


def rendered(found: InterpreterFacts, others: Sequence[HookedClass]) -> "RenderableType":
    """Two tables for a terminal."""
    from rich.console import Group
    from rich.table import Table

    table = Table(box=None, pad_edge=False, title="Families", title_justify="left")
    for heading in ("family", "models", "media", "module groups", "state"):
        table.add_column(heading)
    for family in registry.families().values():
        state = f"{family.state}: {family.state_reason}" if family.state_reason else family.state
        cells = (family.published, family.media, family.groups)
        table.add_row(family.name, *(", ".join(cell) for cell in cells), state)
    if found.vllm is None:
        return Group(table, "", f"no vLLM in {found.executable}: what it claims is not known")
    title = f"Classes of vLLM {found.vllm} with the hook and no family here"
    rest = Table(box=None, pad_edge=False, title=title, title_justify="left")
    for heading in ("class", "architectures", "claims the feature"):
        rest.add_column(heading)
    said = {True: "yes", False: "no", None: "has no flag for it"}
    for one in others:
        rest.add_row(one.name, ", ".join(one.architectures), said[one.flag])
    return Group(table, "", rest)
