"""The command line of `mm-lora defect`: the known defects of released vLLMs."""

from typing import Annotated

import typer

app = typer.Typer(help="List and show the known defects of released vLLMs.", no_args_is_help=True)

Version = Annotated[
    str | None, typer.Option("--vllm", metavar="VERSION", help="Only those of this vLLM version.")
]


@app.callback()
def root() -> None:
    """List and show the known defects of released vLLMs."""


@app.command(name="list")
def list_all(
    vllm: Version = None,
    family: Annotated[
        str | None, typer.Option(metavar="FAMILY", help="Only those that its models have.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """List the known defects: what a user notices, and the fix that proves the cause."""
    from mm_lora.cli.commands import defect

    raise typer.Exit(defect.list_all(vllm, family, as_json))


@app.command()
def show(
    name: Annotated[str, typer.Argument(metavar="ID", help="A defect, as `list` names it.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Print all that is known of a defect, with the commands that show it with and without fix."""
    from mm_lora.cli.commands import defect

    raise typer.Exit(defect.show(name, as_json))
