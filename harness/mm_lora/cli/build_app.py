"""The command line of `mm-lora build`: writes a checkpoint, an adapter or a picture."""

from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(
    help="Write a checkpoint, an adapter or a picture, to inspect or to use elsewhere.",
    no_args_is_help=True,
)

MODEL = "A model, a family, a config.json or a model folder."


@app.command()
def checkpoint(
    model: Annotated[str, typer.Argument(help=MODEL)],
    out: Annotated[Path, typer.Argument(metavar="DIR", help="A new or empty folder.")],
    seed: Annotated[int, typer.Option(help="Seed of the random weights.")] = 0,
) -> None:
    """Write the miniature of MODEL: its vision geometry and structure, random weights."""
    from mm_lora.cli.commands.build import checkpoint as run

    raise typer.Exit(run(model, out, seed))


@app.command()
def adapter(
    name: Annotated[str, typer.Argument(help="A known adapter, or a new name with --target.")],
    out: Annotated[Path, typer.Argument(metavar="DIR", help="A new or empty folder.")],
    model: Annotated[str | None, typer.Option(help=MODEL + "  [default: the profile's]")] = None,
    full: Annotated[
        bool, typer.Option("--full", help="Use the real model's widths, not the miniature's.")
    ] = False,
    rank: Annotated[int | None, typer.Option(help="LoRA rank.")] = None,
    alpha: Annotated[
        float | None, typer.Option(help="LoRA alpha; B·A is scaled by alpha / rank.")
    ] = None,
    dtype: Annotated[str | None, typer.Option(help="float32, bfloat16 or float16.")] = None,
    seed: Annotated[int | None, typer.Option(help="Seed of the random numbers.")] = None,
    target: Annotated[
        list[str] | None, typer.Option(help="PEFT module paths, * crosses dots (repeatable).")
    ] = None,
) -> None:
    """Write a PEFT adapter from the model's config alone, and print what it covers.

    Example: mm-lora build adapter all /tmp/a --full --dtype bfloat16
    """
    from mm_lora.cli.commands.build import adapter as run

    raise typer.Exit(run(name, out, model, not full, rank, alpha, dtype, seed, target or ()))


@app.command()
def image(
    kind: Annotated[str, typer.Argument(help="dice, or another kind of picture.")],
    file: Annotated[Path, typer.Argument(help="The PNG to write.")],
    size: Annotated[str, typer.Option(help="Width and height in pixels, WxH.")] = "336x336",
    colour: Annotated[list[str] | None, typer.Option(help="Colour of a die (repeatable).")] = None,
    pips: Annotated[
        list[int] | None, typer.Option(help="Pips of a die, 1 to 6 (repeatable).")
    ] = None,
) -> None:
    """Write a picture for a request: four dice with known colours and pips."""
    from mm_lora.cli.commands.build import image as run
    from mm_lora.cli.commands.tokens import parse_size

    raise typer.Exit(run(kind, file, parse_size(size), colour or (), pips or ()))


@app.command()
def adapters(
    profile: Annotated[str, typer.Option(help="The profile: a name or a .toml file.")] = "cpu",
    model: Annotated[list[str] | None, typer.Option(help=MODEL)] = None,
    full: Annotated[
        bool, typer.Option(help="Include the adapters of all checks, not only the core.")
    ] = False,
) -> None:
    """Build every adapter of the profile's checks into the cache, without a GPU or weights."""
    from mm_lora.cli.commands.build_all import run
    from mm_lora.run.options import RunOptions

    raise typer.Exit(run(RunOptions(profile=profile, model=tuple(model or ()), full=full)))
