"""`mm-lora inspect`: what a vLLM will do with an adapter, from its files; starts no server."""

import sys
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from mm_lora.adapters.as_found import look
from mm_lora.adapters.found import found
from mm_lora.checks.inspection import bench
from mm_lora.checks.inspection.document import document
from mm_lora.checks.inspection.findings import Inspection
from mm_lora.checks.inspection.repair import repair
from mm_lora.core.errors import ExitCode, UsageError
from mm_lora.core.run_folder import dumps
from mm_lora.families.models import resolve
from mm_lora.report.inspect_lines import rendered

LIST = "repair.txt"
"""Beside a repaired adapter: what was changed."""


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """What the command line asks. `flags`: None to assume what serves an adapter best."""

    path: Path
    model: str
    vllm: str = ""
    flags: str | None = None
    as_json: bool = False
    headers_only: bool = False
    repair: Path | None = None
    drop: bool = False


def run(wanted: Wanted) -> int:
    """Print what becomes of each tensor; 1 if any is not applied, or is broken in itself.

    Raises UsageError for a path, model or vLLM that means nothing.
    """
    if wanted.repair is not None:
        shown = [_repaired(wanted, wanted.repair)]
    else:
        shown = list(
            bench.inspect(
                wanted.path,
                model=wanted.model,
                vllm=wanted.vllm,
                flags=wanted.flags,
                headers_only=wanted.headers_only,
                say=_say,
            )
        )
    _show(shown, wanted)
    return ExitCode.PASS if all(one.is_fine for one in shown) else ExitCode.FAIL


def _repaired(wanted: Wanted, copy: Path) -> Inspection:
    """Write the copy, say what was changed, and inspect the copy."""
    with ExitStack() as stack:
        adapters = stack.enter_context(found(wanted.path))
        if len(adapters) != 1:
            names = ", ".join(name for name, _ in adapters)
            raise UsageError(
                f"--repair takes one adapter, {wanted.path} has {names}", "one of them"
            )
        ((name, folder),) = adapters
        on = stack.enter_context(bench.bench_of(resolve(wanted.model), wanted.vllm, _say))
        adapter = look(folder)
        flags, _ = on.flags(adapter, wanted.flags)
        before = on.inspector(flags, numbers=False).inspect(name, adapter)
        done = repair(adapter, before, on.server(flags), copy, drop=wanted.drop)
        (copy / LIST).write_text("".join(f"{line}\n" for line in done.lines()), encoding="utf-8")
        for line in done.lines() if not wanted.as_json else ():
            print(line)
        return on.inspected(
            str(copy), look(copy), flags=wanted.flags, numbers=not wanted.headers_only
        )


def _show(shown: Sequence[Inspection], wanted: Wanted) -> None:
    from rich.console import Console

    if wanted.as_json:
        print(dumps(document(shown)))
        return
    console = Console(highlight=False)
    for one in shown:
        for line in rendered(one):
            console.print(line, soft_wrap=True)


def _say(line: str) -> None:
    print(f"inspect: {line}", file=sys.stderr)
