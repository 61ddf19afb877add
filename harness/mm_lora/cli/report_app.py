"""The command line of `mm-lora report`: what is done with stored runs."""

from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(help="Stored runs.", no_args_is_help=True)


@app.callback()
def root() -> None:
    """Stored runs."""


Reports = Annotated[Path, typer.Option(help="Where run folders are.")]


@app.command()
def show(
    run: Annotated[str, typer.Argument(metavar="RUN", help="A run's folder, or `latest`.")],
    reports: Reports = Path("reports"),
) -> None:
    """Print the summary of a stored run again."""
    from mm_lora.cli.commands import report_show

    raise typer.Exit(report_show.show(run, reports))


@app.command()
def diff(
    first: Annotated[str, typer.Argument(metavar="RUN", help="The run to compare with.")],
    second: Annotated[str, typer.Argument(metavar="RUN", help="The newer run, or `latest`.")],
    reports: Reports = Path("reports"),
) -> None:
    """Compare two runs; exit code 1 when a check ended well only in the first."""
    from mm_lora.cli.commands import report_show

    raise typer.Exit(report_show.diff(first, second, reports))


@app.command()
def merge(
    runs: Annotated[list[str], typer.Argument(metavar="RUN…", help="A folder of each shard.")],
    reports: Annotated[Path, typer.Option(help="Where the run folder goes.")] = Path("reports"),
) -> None:
    """Join the shards of one run (--set shard=I/N): all of them, of one seed and version."""
    from mm_lora.cli.commands.report_merge import run

    raise typer.Exit(run(runs, reports))
