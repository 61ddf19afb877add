"""The command line of `mm-lora cache`: what is kept between runs."""

from typing import Annotated

import typer

from mm_lora.cli.help import HOW, OUTPUT, WHAT, Command, Group, examples, option, switch

app = typer.Typer(
    cls=Group,
    help="Show or prune what is kept between runs.",
    epilog=examples("mm-lora cache show", "mm-lora cache prune --to 2GB"),
    no_args_is_help=True,
)

Kinds = Annotated[
    list[str] | None, option("These kinds alone, as `show` names them (repeatable).", WHAT, "KIND")
]
AsJson = Annotated[bool, switch("JSON.", OUTPUT, "--json")]


@app.callback()
def root() -> None:
    """Show or prune what is kept between runs."""


@app.command(cls=Command, epilog=examples("mm-lora cache show", "mm-lora cache show --json"))
def show(as_json: AsJson = False) -> None:
    """Print where the cache is, and how much room each kind takes in it."""
    from mm_lora.cli.commands import cache

    raise typer.Exit(cache.show(as_json))


@app.command(
    cls=Command,
    epilog=examples(
        "mm-lora cache prune --to 2GB",
        "mm-lora cache prune --unused-for 30 --dry-run",
        "mm-lora cache prune --kind environments",
    ),
)
def prune(
    to: Annotated[
        str | None, option("The longest unused, until so much is left.", HOW, "SIZE")
    ] = None,
    unused_for: Annotated[
        float | None, option("What no run has used for so many days.", HOW, "DAYS", min=0)
    ] = None,
    kind: Kinds = None,
    dry_run: Annotated[bool, switch("Say what would go.", HOW, "--dry-run")] = False,
    as_json: AsJson = False,
) -> None:
    """Remove what later runs can build, compute or install again.

    Without --to and --unused-for, all of it. What was used in the last six
    hours stays, since a run may serve it. Environments of other vLLMs, which
    take minutes to install, go only with --kind environments.
    """
    from mm_lora.cli.commands import cache

    raise typer.Exit(cache.prune(to, unused_for, kind or (), dry_run, as_json))
