"""The command line of `mm-lora report`: show, compare and merge stored runs."""

from pathlib import Path
from typing import Annotated

import typer

from mm_lora.cli.help import OUTPUT, WHERE, Command, Group, examples, option, switch

app = typer.Typer(
    cls=Group,
    help="Show, compare and merge stored runs.",
    epilog=examples("mm-lora report show latest", "mm-lora report diff OLD_RUN latest"),
    no_args_is_help=True,
)


@app.callback()
def root() -> None:
    """Show, compare and merge stored runs."""


Reports = Annotated[Path, option("The folder with the reports.", WHERE, "DIR")]


@app.command(
    cls=Command,
    epilog=examples("mm-lora report show latest -v", "mm-lora report show latest --html"),
)
def show(
    run: Annotated[str, typer.Argument(metavar="RUN", help="A run's folder, or `latest`.")],
    reports: Reports = Path("reports"),
    html: Annotated[
        bool, switch("Write report.html, report.md and junit.xml anew.", OUTPUT, "--html")
    ] = False,
    quiet: Annotated[bool, switch("The verdict alone.", OUTPUT, "--quiet", "-q")] = False,
    verbose: Annotated[bool, switch("The tables too.", OUTPUT, "--verbose", "-v")] = False,
) -> None:
    """Print what a stored run came to."""
    from mm_lora.cli.commands import report_show
    from mm_lora.report.terminal import talk_of

    if html:
        raise typer.Exit(report_show.write_page(run, reports))
    raise typer.Exit(report_show.show(run, reports, talk_of(quiet=quiet, verbose=verbose)))


@app.command(
    cls=Command,
    epilog=examples(
        "mm-lora report diff OLD_RUN latest",
        "mm-lora report diff OLD_RUN NEW_RUN --reports elsewhere",
    ),
)
def diff(
    first: Annotated[str, typer.Argument(metavar="OLD", help="The run to compare with.")],
    second: Annotated[str, typer.Argument(metavar="NEW", help="The newer run, or `latest`.")],
    reports: Reports = Path("reports"),
) -> None:
    """Compare two runs.

    Exit codes: 0 nothing got worse, 1 a check ended well in the first run only.
    """
    from mm_lora.cli.commands import report_show

    raise typer.Exit(report_show.diff(first, second, reports))


@app.command(
    cls=Command,
    epilog=examples(
        "mm-lora report merge SHARD1 SHARD2 SHARD3",
        "mm-lora report merge SHARD1 SHARD2 --reports whole",
    ),
)
def merge(
    runs: Annotated[list[str], typer.Argument(metavar="RUN", help="The folder of each shard.")],
    reports: Annotated[Path, option("The folder for the merged report.", OUTPUT, "DIR")] = Path(
        "reports"
    ),
) -> None:
    """Merge all shards of one run (--set shard=I/N, `mutants --shard`) into one report."""
    from mm_lora.cli.commands.report_merge import run

    raise typer.Exit(run(runs, reports))
