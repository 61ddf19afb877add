"""The command line of `mm-lora defect`: the known defects of released vLLMs."""

from pathlib import Path
from typing import Annotated

import typer

from mm_lora.cli.help import OUTPUT, WHAT, Command, Group, examples, option, switch

app = typer.Typer(
    cls=Group,
    help="List and show the known defects of released vLLMs, and their fixes as patches.",
    epilog=examples(
        "mm-lora defect list --vllm 0.32.0",
        "mm-lora defect show bad-adapter-is-500",
        "mm-lora defect diff bad-adapter-is-500",
    ),
    no_args_is_help=True,
)

AsJson = Annotated[bool, switch("JSON.", OUTPUT, "--json")]


@app.callback()
def root() -> None:
    """List and show the known defects of released vLLMs, and their fixes as patches."""


@app.command(
    name="list",
    cls=Command,
    epilog=examples("mm-lora defect list --vllm 0.32.0", "mm-lora defect list --json"),
)
def list_all(
    vllm: Annotated[
        str | None, option("Those of this vLLM version alone.", WHAT, "VERSION")
    ] = None,
    family: Annotated[
        str | None, option("Those that its models have alone.", WHAT, "FAMILY")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """List the known defects and what happens with each."""
    from mm_lora.cli.commands import defect

    raise typer.Exit(defect.list_all(vllm, family, as_json))


@app.command(
    cls=Command,
    epilog=examples(
        "mm-lora defect show bad-adapter-is-500", "mm-lora defect show bad-adapter-is-500 --json"
    ),
)
def show(
    name: Annotated[str, typer.Argument(metavar="ID", help="A defect, as `list` names it.")],
    as_json: AsJson = False,
) -> None:
    """Print all that is known of a defect, with the commands that show it with and without fix."""
    from mm_lora.cli.commands import defect

    raise typer.Exit(defect.show(name, as_json))


@app.command(
    cls=Command,
    epilog=examples(
        "mm-lora defect diff bad-adapter-is-500",
        "mm-lora defect diff bad-adapter-is-500 --out fix.diff",
    ),
)
def diff(
    name: Annotated[str, typer.Argument(metavar="ID", help="A defect, as `list` names it.")],
    out: Annotated[
        Path | None, option("Write it there, not to the terminal.", OUTPUT, "FILE")
    ] = None,
) -> None:
    """Print a defect's fix as a change of vLLM's source, which `git apply` takes.

    Exit code 4: it has none, and the reason is printed.
    """
    from mm_lora.cli.commands import defect

    raise typer.Exit(defect.diff(name, out))
