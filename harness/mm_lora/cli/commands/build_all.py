"""`mm-lora build adapters`: every adapter that a profile's checks load, with sizes and time."""

import sys
import time
from pathlib import Path

from rich.console import Console
from rich.table import Table

from mm_lora.core.errors import ExitCode
from mm_lora.run.factors import Strengths
from mm_lora.run.options import RunOptions
from mm_lora.run.runner import planned
from mm_lora.truth.build import Builder


def run(options: RunOptions) -> int:
    """Build them into the cache, from the model's config alone; print one row an adapter."""
    conductor = planned(options)
    table = Table(box=None, pad_edge=False, show_footer=True)
    for column in ("adapter", "model", "dtype"):
        table.add_column(column)
    wanted = dict.fromkeys(
        (spec.model, name) for spec in conductor.plan.specs for name in spec.adapters
    )
    total, began = 0, time.monotonic()
    rows = []
    strengths = Strengths(options, conductor.inputs.profile)
    with Builder(Path(sys.executable), lambda line: print(line, file=sys.stderr)) as builder:
        for model_name, name in wanted:
            if name in conductor.inputs.own:
                continue
            model = conductor.inputs.model(model_name)
            spec = strengths.spec(builder, model, name)
            start = time.monotonic()
            built = builder.adapters(model, [spec], miniature=not model.is_real)[name]
            total += built.bytes
            took = f"{time.monotonic() - start:.1f}"
            rows.append(
                [name, model_name, spec.dtype, built.modules, f"{built.bytes / 1e6:.1f}", took]
            )
    table.add_column("modules", justify="right", footer=f"{len(rows)} adapters")
    table.add_column("MB", justify="right", footer=f"{total / 1e6:.1f}")
    table.add_column("seconds", justify="right", footer=f"{time.monotonic() - began:.1f}")
    for row in rows:
        table.add_row(*map(str, row))
    Console().print(table)
    return ExitCode.PASS
