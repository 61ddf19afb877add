"""`mm-lora build adapters`: every adapter that a profile's checks load, with sizes and time."""

import sys
import time
from contextlib import closing

from rich.console import Console
from rich.table import Table

from mm_lora.core.errors import ExitCode
from mm_lora.run.builds import Builds
from mm_lora.run.options import RunOptions
from mm_lora.run.runner import planned


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
    with closing(Builds(conductor.inputs, lambda line: print(line, file=sys.stderr))) as builds:
        for model, name in wanted:
            if name in conductor.inputs.own:
                continue
            start = time.monotonic()
            built = builds.adapters(model, (name,))[name]
            total += built.bytes
            took = f"{time.monotonic() - start:.1f}"
            dtype = builds.spec(model, name).dtype
            rows.append([name, model, dtype, built.modules, f"{built.bytes / 1e6:.1f}", took])
    table.add_column("modules", justify="right", footer=f"{len(rows)} adapters")
    table.add_column("MB", justify="right", footer=f"{total / 1e6:.1f}")
    table.add_column("seconds", justify="right", footer=f"{time.monotonic() - began:.1f}")
    for row in rows:
        table.add_row(*map(str, row))
    Console().print(table)
    return ExitCode.PASS
