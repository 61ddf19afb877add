"""`mm-lora mutants`: which check kills which seeded defect."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mm_lora.core.errors import ExitCode, UsageError
from mm_lora.families import registry
from mm_lora.inside.catalogue import PATCHES
from mm_lora.report import mutant_list
from mm_lora.run import shards
from mm_lora.run.mutant_conductor import Wanted
from mm_lora.run.mutant_runner import run_mutants, show_mutants
from mm_lora.run.mutant_turns import Lane
from mm_lora.run.options import of_command


def run(
    told: Mapping[str, Any],
    names: tuple[str | None, str | None],
    lanes: Sequence[str],
    only: Sequence[str],
    shard: str,
    *,
    every: bool,
    dry_run: bool,
    as_json: bool,
) -> int:
    """`told`: options of the run. `names`: a family or a model. Raises UsageError."""
    family, model = names
    if family and model:
        raise UsageError("--family and --model both say what is served", "one of them")
    if family:
        model = registry.family(family).published[0]
    options = of_command({**told, "model": (model,) if model else ()})
    if options.settings.mutant:
        raise UsageError("--set mutant=… seeds a defect in the control too", "--only ID")
    if options.shard is not None:
        raise UsageError("--set shard=… shares out checks, not mutants", "--shard I/N")
    wanted = Wanted(
        lanes=tuple(dict.fromkeys(_lane(word) for word in lanes)),
        only=tuple(only),
        shard=shards.parse(shard, "--shard ") if shard else None,
        every=every,
    )
    if dry_run:
        return show_mutants(options, wanted)
    return run_mutants(options, wanted, as_json=as_json)


def write_page(file: Path) -> int:
    """Write the list of all mutants below the mark of a page. Raises UsageError without a page."""
    if not file.is_file():
        raise UsageError(f"there is no page {file}", "docs/mutants.md of a checkout")
    text = file.read_text(encoding="utf-8")
    file.write_text(mutant_list.page(text, PATCHES), encoding="utf-8")
    print(f"{file}: written")
    return ExitCode.PASS


def _lane(word: str) -> Lane:
    if word not in list(Lane):
        raise UsageError(f"no lane '{word}'", f"one of {', '.join(Lane)}")
    return Lane(word)
