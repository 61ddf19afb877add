"""The command line of `mm-lora build`: writes a checkpoint, an adapter or a picture."""

from pathlib import Path
from typing import Annotated

import typer

from mm_lora.cli.help import HOW, WHAT, WHERE, Command, Group, examples, option, switch

app = typer.Typer(
    cls=Group,
    help="Write a checkpoint, an adapter or a picture, to inspect or to use elsewhere.",
    epilog=examples(
        "mm-lora build checkpoint MODEL MINIATURE", "mm-lora build image dice dice.png"
    ),
    no_args_is_help=True,
)

MODEL = "A model, a family, a config.json or a model folder."

Folder = Annotated[Path, typer.Argument(metavar="DIR", help="A new or empty folder.")]


@app.command(
    cls=Command,
    epilog=examples(
        "mm-lora build checkpoint MODEL MINIATURE",
        "mm-lora build checkpoint MODEL MINIATURE --seed 1",
    ),
)
def checkpoint(
    model: Annotated[str, typer.Argument(metavar="MODEL", help=MODEL)],
    out: Folder,
    seed: Annotated[int, option("Seed of the random weights.", HOW, "N")] = 0,
) -> None:
    """Write the miniature of MODEL: its vision geometry and structure, random weights."""
    from mm_lora.cli.commands.build import checkpoint as run

    raise typer.Exit(run(model, out, seed))


@app.command(
    cls=Command,
    epilog=examples(
        "mm-lora build adapter all ADAPTER --full --dtype bfloat16",
        "mm-lora build adapter mine ADAPTER --model MODEL --target '*.fc1'",
    ),
)
def adapter(
    name: Annotated[
        str,
        typer.Argument(metavar="NAME", help="A known adapter, or a new name with --target."),
    ],
    out: Folder,
    model: Annotated[str | None, option(MODEL, WHAT, "MODEL", show_default="the profile's")] = None,
    target: Annotated[
        list[str] | None,
        option("PEFT module paths, * crosses dots (repeatable).", WHAT, "GLOB"),
    ] = None,
    full: Annotated[
        bool, switch("The real model's widths, not the miniature's.", HOW, "--full")
    ] = False,
    rank: Annotated[int | None, option("LoRA rank.", HOW, "N")] = None,
    alpha: Annotated[
        float | None, option("LoRA alpha; B·A is scaled by alpha / rank.", HOW, "ALPHA")
    ] = None,
    dtype: Annotated[str | None, option("float32, bfloat16 or float16.", HOW, "DTYPE")] = None,
    seed: Annotated[int | None, option("Seed of the random numbers.", HOW, "N")] = None,
) -> None:
    """Write a PEFT adapter from the model's config alone, and print what it covers."""
    from mm_lora.cli.commands.build import adapter as run

    raise typer.Exit(run(name, out, model, not full, rank, alpha, dtype, seed, target or ()))


@app.command(
    cls=Command,
    epilog=examples(
        "mm-lora build image dice dice.png --size 700x400",
        "mm-lora build image dice dice.png --colour red --pips 6",
    ),
)
def image(
    kind: Annotated[str, typer.Argument(metavar="KIND", help="dice, or another kind of picture.")],
    file: Annotated[Path, typer.Argument(metavar="FILE", help="The PNG to write.")],
    size: Annotated[str, option("Width and height in pixels.", WHAT, "WxH")] = "336x336",
    colour: Annotated[
        list[str] | None, option("Colour of a die (repeatable).", WHAT, "COLOUR")
    ] = None,
    pips: Annotated[
        list[int] | None, option("Pips of a die, 1 to 6 (repeatable).", WHAT, "N")
    ] = None,
) -> None:
    """Write a picture for a request: four dice with known colours and pips."""
    from mm_lora.cli.commands.build import image as run
    from mm_lora.families.sizes import parse_size

    raise typer.Exit(run(kind, file, parse_size(size), colour or (), pips or ()))


@app.command(
    cls=Command,
    epilog=examples(
        "mm-lora build adapters --profile gpu", "mm-lora build adapters --model MODEL --full"
    ),
)
def adapters(
    model: Annotated[list[str] | None, option(MODEL, WHAT, "MODEL")] = None,
    full: Annotated[
        bool, switch("The adapters of all checks, not only the core.", WHAT, "--full")
    ] = False,
    profile: Annotated[str, option("A profile's name or .toml file.", WHERE, "PROFILE")] = "cpu",
) -> None:
    """Build every adapter of the profile's checks into the cache, without a GPU or weights."""
    from mm_lora.cli.commands.build_all import run
    from mm_lora.run.options import RunOptions

    raise typer.Exit(run(RunOptions(profile=profile, model=tuple(model or ()), full=full)))
