"""The command line of `mm-lora report`: what is done with stored runs."""

from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(help="Stored runs.", no_args_is_help=True)


@app.callback()
def root() -> None:
    """Stored runs."""


@app.command()
def merge(
    runs: Annotated[list[str], typer.Argument(metavar="RUN…", help="A folder of each shard.")],
    reports: Annotated[Path, typer.Option(help="Where the run folder goes.")] = Path("reports"),
) -> None:
    """Join the shards of one run (--set shard=I/N): all of them, of one seed and version."""
    from mm_lora.commands.report_merge import run

    raise typer.Exit(run(runs, reports))
