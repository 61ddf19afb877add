"""`mm-lora watch`: one pass over the adapters of a running server, from outside."""

import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from mm_lora.adapters.own import named_folders
from mm_lora.checks.inspection.document import document
from mm_lora.checks.inspection.findings import Fate, Inspection
from mm_lora.checks.watching.findings import FILES, Finding, Pass
from mm_lora.core.errors import UsageError
from mm_lora.core.outcomes import Outcome
from mm_lora.core.run_folder import RunFolder, dumps
from mm_lora.families.family import Family
from mm_lora.families.modules import LANGUAGE
from mm_lora.report import watch_lines, watch_metrics
from mm_lora.run.watch import Order, watch
from mm_lora.serving.client import Client
from mm_lora.serving.server.remote import RemoteServer, api_key, root_of

Say = Callable[[str], None]


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """What the command line asks. `adapters`: NAME=FOLDER words."""

    base_url: str
    only: Sequence[str] = ()
    adapters: Sequence[str] = ()
    model: str = ""
    timeout_s: float = 300.0
    metrics: Path | None = None
    as_json: bool = False


def run(wanted: Wanted) -> int:
    """The exit code of one pass. Raises UsageError for what means nothing on the command line."""
    root, folders = root_of(wanted.base_url), folders_of(wanted.adapters, wanted.model)
    if wanted.timeout_s <= 0:
        raise UsageError(f"--timeout {wanted.timeout_s:g} is no time", "seconds above 0")
    if wanted.metrics is not None and not wanted.metrics.absolute().parent.is_dir():
        raise UsageError(f"--metrics {wanted.metrics}: there is no such folder", "its path")
    inspections, family = _inspected(folders, wanted.model)
    order = Order(
        limit_s=wanted.timeout_s,
        only=wanted.only,
        expected=tuple(folders),
        on_text={n: changes_text(one, family) for n, one in inspections.items() if family},
        files=[finding_of(name, one) for name, one in inspections.items()],
        notes=[f"{one.adapter}: {note}" for one in inspections.values() for note in one.notes],
    )
    with closing(Client(root, wanted.timeout_s, api_key())) as client:
        done = watch(RemoteServer(root, api_key()), client, order)
    if wanted.metrics is not None:
        file = wanted.metrics.absolute()
        RunFolder(file.parent).write(file.name, watch_metrics.render(done))
    _show(done, inspections, as_json=wanted.as_json)
    return done.exit_code


def folders_of(words: Sequence[str], model: str) -> Mapping[str, Path]:
    """Name → folder of what `--adapter` says. Raises UsageError."""
    found = named_folders(words)
    if found and not model:
        raise UsageError("--adapter needs --model", "the base model of the server")
    return found


def finding_of(name: str, one: Inspection) -> Finding:
    """Inspect's verdict as a check of the adapter."""
    counts = {fate: sum(t.fate is fate for t in one.tensors) for fate in Fate}
    broken = sum(t.broken for t in one.tensors)
    told = [f"{count} {fate}" for fate, count in counts.items() if count]
    told += [f"{broken} broken in themselves"] if broken else []
    reason = f"of its tensors {', '.join(told) or 'none is applied'}; `mm-lora inspect` says why"
    fine = one.is_fine
    return Finding(
        adapter=name,
        check=FILES,
        outcome=Outcome.PASS if fine else Outcome.FAIL,
        reason="" if fine else reason,
    )


def changes_text(one: Inspection, family: Family) -> bool:
    """Whether some tensor is applied to the language model, so that text is answered otherwise."""
    applied = (t.module for t in one.tensors if t.fate is Fate.APPLIED and t.module)
    groups = [family.group_of(module) for module in applied]
    return any(group is not None and group.role == LANGUAGE for group in groups)


def _inspected(
    folders: Mapping[str, Path], model: str
) -> tuple[dict[str, Inspection], Family | None]:
    """What inspect says of each folder, and the family of their model."""
    if not folders:
        return {}, None
    from mm_lora.adapters.as_found import look
    from mm_lora.checks.inspection.bench import bench_of
    from mm_lora.families.models import resolve

    found = resolve(model)
    for name, folder in folders.items():
        if not folder.is_dir():
            raise UsageError(f"adapter '{name}': there is no folder {folder}", "its path")
    with bench_of(found, "", _say) as bench:
        every = {name: bench.inspected(name, look(folder)) for name, folder in folders.items()}
    return every, found.family


def _show(done: Pass, inspections: Mapping[str, Inspection], *, as_json: bool) -> None:
    if as_json:
        told = [document([one]) for one in inspections.values()]
        print(dumps({**done.as_json(), "inspections": told}))
        return
    from rich.console import Console

    console = Console(highlight=False)
    for line in watch_lines.rendered(done):
        console.print(line, soft_wrap=True)


def _say(line: str) -> None:
    print(f"watch: {line}", file=sys.stderr)
