"""The command line of `mm-lora report`: show, compare and merge stored runs."""

from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(help="Show, compare and merge stored runs.", no_args_is_help=True)


@app.callback()
def root() -> None:
    """Show, compare and merge stored runs."""


Reports = Annotated[Path, typer.Option(help="The folder with the reports.")]


@app.command()
def show(
    run: Annotated[str, typer.Argument(metavar="RUN", help="A run's folder, or `latest`.")],
    reports: Reports = Path("reports"),
    html: Annotated[
        bool, typer.Option("--html", help="Write report.html, report.md and junit.xml anew.")
    ] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print the verdict alone.")] = False,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Print the tables too.")] = False,
) -> None:
    """Print what a stored run came to."""
    from mm_lora.cli.commands import report_show
    from mm_lora.report.terminal import talk_of

    if html:
        raise typer.Exit(report_show.write_page(run, reports))
    raise typer.Exit(report_show.show(run, reports, talk_of(quiet=quiet, verbose=verbose)))


@app.command()
def diff(
    first: Annotated[str, typer.Argument(metavar="RUN", help="The run to compare with.")],
    second: Annotated[str, typer.Argument(metavar="RUN", help="The newer run, or `latest`.")],
    reports: Reports = Path("reports"),
) -> None:
    """Compare two runs. Exit code 1 if a check ended well in the first run only."""
    from mm_lora.cli.commands import report_show

    raise typer.Exit(report_show.diff(first, second, reports))


@app.command()
def merge(
    runs: Annotated[list[str], typer.Argument(metavar="RUN…", help="The folder of each shard.")],
    reports: Annotated[Path, typer.Option(help="The folder for the merged report.")] = Path(
        "reports"
    ),
) -> None:
    """Merge all shards of one run (--set shard=I/N) into one report."""
    from mm_lora.cli.commands.report_merge import run

    raise typer.Exit(run(runs, reports))
