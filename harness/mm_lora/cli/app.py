"""The command line: parses, builds options, calls. Every heavy import is inside its command.

Exit codes: 0 passed, 1 a check failed, 2 wrong usage, 3 trouble, 4 nothing judged,
130 and 143 ended by a signal.
"""

import sys
from pathlib import Path
from typing import Annotated

import typer

from mm_lora.cli import build_app as cli_build
from mm_lora.cli import cache_app as cli_cache
from mm_lora.cli import defect_app as cli_defect
from mm_lora.cli import report_app as cli_report
from mm_lora.cli import watch_app as cli_watch
from mm_lora.cli.help import (
    HOW,
    OTHER,
    OUTPUT,
    WHAT,
    WHERE,
    Command,
    Group,
    examples,
    option,
    switch,
)
from mm_lora.core.errors import MmLoraError
from mm_lora.core.version import __version__

app = typer.Typer(
    cls=Group,
    help="Does this vLLM apply my LoRA adapter to the right rows of a multimodal model?",
    epilog="Exit codes: 0 passed, 1 a check failed, 2 wrong usage, 3 trouble, 4 nothing judged.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)

app.add_typer(cli_build.app, name="build")
app.add_typer(cli_report.app, name="report")
app.add_typer(cli_defect.app, name="defect")
app.add_typer(cli_cache.app, name="cache")

Repeated = list[str]

Models = Annotated[
    Repeated | None,
    option("A model, a family, a config, `all` or `all-families` (repeatable).", WHAT, "MODEL"),
]
Full = Annotated[bool, switch("All checks, not only the core.", WHAT, "--full")]
Only = Annotated[
    Repeated | None,
    option("The checks with these ids alone (* crosses /; repeatable).", WHAT, "GLOB"),
]
Skip = Annotated[
    Repeated | None, option("Not the checks with these ids (repeatable).", WHAT, "GLOB")
]
Profile = Annotated[str, option("A profile's name or .toml file.", WHERE, "PROFILE")]
ServerPython = Annotated[
    Path | None,
    option("The Python that has the vLLM.", WHERE, "PYTHON", show_default="the tool's own"),
]
Reports = Annotated[Path, option("The folder for reports.", OUTPUT, "DIR")]
AsJson = Annotated[bool, switch("Print JSON.", OUTPUT, "--json")]
Setting = Annotated[
    Repeated | None,
    option("A less common setting: `mm-lora settings` (repeatable).", HOW, "KEY=VALUE", "--set"),
]


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"mm-lora {__version__}")
        raise typer.Exit


@app.callback()
def root(
    version: Annotated[
        bool,
        typer.Option(
            "--version",
            callback=_version,
            is_eager=True,
            help="Print the version.",
            rich_help_panel=OTHER,
        ),
    ] = False,
) -> None:
    """Check that a vLLM applies LoRA adapters to tower, connector and language model."""


@app.command(
    cls=Command,
    epilog=examples(
        "mm-lora verify",
        "mm-lora verify --model MODEL --only 'numerics/*' -v",
        "mm-lora verify --server-python /path/to/python --set vllm-patch=pr.diff",
    ),
)
def verify(
    context: typer.Context,
    model: Models = None,
    full: Full = False,
    only: Only = None,
    skip: Skip = None,
    adapter: Annotated[
        Repeated | None, option("Also this PEFT adapter (repeatable).", WHAT, "NAME=FOLDER")
    ] = None,
    profile: Annotated[
        str | None,
        option("A profile's name or .toml file.", WHERE, "PROFILE", show_default="cpu"),
    ] = None,
    server_python: ServerPython = None,
    reference_python: Annotated[
        Path | None,
        option(
            "The Python that has the reference's transformers.",
            WHERE,
            "PYTHON",
            show_default="the tool's own",
        ),
    ] = None,
    base_url: Annotated[
        str,
        option("A server that runs already. Its key: MM_LORA_API_KEY.", WHERE, "URL"),
    ] = "",
    with_fixes: Annotated[
        bool, switch("Fix the known defects inside the server.", HOW, "--with-fixes")
    ] = False,
    strict: Annotated[bool, switch("Count known defects as failures.", HOW, "--strict")] = False,
    seed: Annotated[int, option("Seed of the random weights and adapters.", HOW, "N")] = 0,
    setting: Setting = None,
    dry_run: Annotated[
        bool,
        switch("Print servers, checks and expected time; run nothing.", OUTPUT, "--dry-run"),
    ] = False,
    reports: Reports = Path("reports"),
    quiet: Annotated[bool, switch("The verdict alone.", OUTPUT, "--quiet", "-q")] = False,
    verbose: Annotated[bool, switch("The tables too.", OUTPUT, "--verbose", "-v")] = False,
) -> None:
    """Start a real vLLM server and check it; the report goes to REPORTS/latest."""
    from mm_lora.report.terminal import talk_of
    from mm_lora.run.options import of_command
    from mm_lora.run.runner import run_checks, show_plan

    options = of_command(context.params)
    if options.dry_run:
        raise typer.Exit(show_plan(options))
    raise typer.Exit(run_checks(options, talk_of(quiet=quiet, verbose=verbose)))


@app.command(
    cls=Command,
    epilog=examples(
        "mm-lora matrix 0.28.0 0.32.0 --model MODEL --model OTHER",
        "mm-lora matrix /path/to/python 0.32.0 --set vllm-patch=pr.diff",
        "mm-lora matrix --clean 0.28.0",
    ),
)
def matrix(
    context: typer.Context,
    versions: Annotated[
        Repeated | None,
        typer.Argument(metavar="VERSION", help="Such as 0.17.0, or an interpreter's path."),
    ] = None,
    model: Models = None,
    full: Full = False,
    only: Only = None,
    skip: Skip = None,
    profile: Profile = "cpu",
    setting: Setting = None,
    clean: Annotated[
        bool, switch("Remove the cached environments; run nothing.", HOW, "--clean")
    ] = False,
    reports: Reports = Path("reports"),
) -> None:
    """Verify over several vLLM versions, each in a cached environment of its own.

    Exit codes: the worst of the rows; a version that cannot be installed or has
    nothing to verify counts as 0 beside one that ran, 4 if none ran.
    """
    from mm_lora.cli.commands import matrix as command
    from mm_lora.core.errors import UsageError
    from mm_lora.run.options import of_command

    if clean:
        raise typer.Exit(command.clean(versions or ()))
    if not versions:
        raise UsageError("matrix needs at least one version")
    raise typer.Exit(command.run(versions, of_command(context.params)))


@app.command(
    cls=Command,
    epilog=examples(
        "mm-lora mutants --only 'base-*' --lane checks --lane relations",
        "mm-lora mutants --family FAMILY --dry-run",
    ),
)
def mutants(
    family: Annotated[
        str | None, option("A family's mutants, in its default model.", WHAT, "FAMILY")
    ] = None,
    model: Annotated[str | None, option("A model, as for verify.", WHAT, "MODEL")] = None,
    lane: Annotated[
        Repeated | None,
        option("checks, answers or relations (repeatable).", WHAT, "LANE", show_default="checks"),
    ] = None,
    only: Annotated[
        Repeated | None, option("The mutants with these ids alone (repeatable).", WHAT, "GLOB")
    ] = None,
    shard: Annotated[str, option("This part of the mutants.", WHAT, "I/N")] = "",
    every: Annotated[
        bool, switch("Every check of a mutant, not only until one fails.", HOW, "--every")
    ] = False,
    with_fixes: Annotated[
        bool,
        typer.Option(
            "--with-fixes/--without-fixes",
            help="Fix the known defects first, or leave them in.",
            rich_help_panel=HOW,
        ),
    ] = True,
    setting: Setting = None,
    dry_run: Annotated[
        bool, switch("Print the mutants and their checks; run nothing.", OUTPUT, "--dry-run")
    ] = False,
    reports: Reports = Path("reports"),
    as_json: Annotated[bool, switch("Print mutants.json.", OUTPUT, "--json")] = False,
    page: Annotated[
        Path | None,
        option("Write the list of all mutants into this page instead.", OUTPUT, "FILE"),
    ] = None,
) -> None:
    """Seed each mutant in a running server and show which check kills it.

    A mutant is killed when a check that passes without it fails with it.

    Exit codes: 0 each is killed or says why not, 1 one survives that does not
    say why, 2 wrong usage, 3 a check fails without a mutant, 4 none was judged.
    """
    from mm_lora.cli.commands.mutants import run, write_page

    if page is not None:
        raise typer.Exit(write_page(page))
    told = {"reports": reports, "with_fixes": with_fixes, "setting": setting}
    lanes, names = lane or ["checks"], (family, model)
    raise typer.Exit(
        run(told, names, lanes, only or (), shard, every=every, dry_run=dry_run, as_json=as_json)
    )


@app.command(
    name="list",
    cls=Command,
    epilog=examples("mm-lora list", "mm-lora list --full --only 'isolation/*'"),
)
def list_command(
    context: typer.Context, model: Models = None, full: Full = False, only: Only = None
) -> None:
    """List the checks, their ids and the servers that they need."""
    from mm_lora.run.options import of_command
    from mm_lora.run.runner import list_checks

    raise typer.Exit(list_checks(of_command(context.params)))


@app.command(cls=Command, epilog=examples("mm-lora settings", "mm-lora settings --json"))
def settings(as_json: AsJson = False) -> None:
    """List the less common settings, the keys of `--set`."""
    from mm_lora.cli.commands.settings import run

    raise typer.Exit(run(as_json))


@app.command(
    cls=Command,
    epilog=examples(
        "mm-lora tokens MODEL --image 700x400 --image 336x336",
        "mm-lora tokens MODEL --video 8x320x240 --json",
    ),
)
def tokens(
    model: Annotated[
        str, typer.Argument(metavar="MODEL", help="A model, a family, a config or a folder.")
    ],
    image: Annotated[Repeated | None, option("A picture (repeatable).", WHAT, "WxH")] = None,
    video: Annotated[
        Repeated | None,
        option("A video, by the frames that are kept (repeatable).", WHAT, "FRAMESxWxH"),
    ] = None,
    sound: Annotated[
        Repeated | None, option("A sound's length in samples (repeatable).", WHAT, "SAMPLES")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Compute the rows and tokens of a model for pictures, videos and sounds of any size."""
    from mm_lora.cli.commands.tokens import run

    raise typer.Exit(run(model, image or [], as_json, video or [], sound or []))


@app.command(
    cls=Command,
    epilog=examples(
        "mm-lora serve MODEL --port 8000",
        "mm-lora serve MODEL --adapter projector --adapter mine=MY_ADAPTER",
    ),
)
def serve(
    model: Annotated[
        str | None,
        typer.Argument(
            metavar="MODEL",
            help="A model, a family or a folder.",
            show_default="the profile's",
        ),
    ] = None,
    adapter: Annotated[
        Repeated | None,
        option("A known adapter, or one of your own (repeatable).", WHAT, "NAME[=FOLDER]"),
    ] = None,
    profile: Profile = "cpu",
    server_python: ServerPython = None,
    port: Annotated[int | None, option("The port.", WHERE, "N", show_default="a free one")] = None,
    setting: Setting = None,
) -> None:
    """Start the server of a run and keep it running, with a curl line to try. Ctrl-C stops it."""
    from mm_lora.cli.commands.serve import run
    from mm_lora.run.options import RunOptions
    from mm_lora.run.settings import settings_of

    words = [*(setting or ()), *([] if port is None else [f"port={port}"])]
    options = RunOptions(
        profile=profile,
        model=(model,) if model else (),
        server_python=server_python,
        settings=settings_of(words),
    )
    raise typer.Exit(run(options, adapter or ()))


@app.command(
    cls=Command,
    epilog=examples("mm-lora families", "mm-lora families --scan --server-python /path/to/python"),
)
def families(
    scan: Annotated[
        bool, switch("Read vLLM's source for what adapters will miss.", WHAT, "--scan")
    ] = False,
    server_python: ServerPython = None,
    as_json: AsJson = False,
    pages: Annotated[
        Path | None,
        option("Write a page for each family into this folder instead.", OUTPUT, "DIR"),
    ] = None,
) -> None:
    """List the model families, and the vLLM classes that no family covers yet."""
    from mm_lora.cli.commands.families import run, write_pages

    if pages is not None:
        raise typer.Exit(write_pages(pages))
    raise typer.Exit(run(server_python, as_json, scan=scan))


@app.command(
    cls=Command,
    epilog=examples(
        "mm-lora inspect MY_ADAPTER --model MODEL",
        "mm-lora inspect MY_ADAPTER --model MODEL --vllm 0.28.0 --repair FIXED",
    ),
)
def inspect(
    adapter: Annotated[
        Path,
        typer.Argument(metavar="ADAPTER", help="A PEFT folder, a folder of several, or a .zip."),
    ],
    model: Annotated[str, option("A model, a family, a config or a folder.", WHAT, "MODEL")],
    headers_only: Annotated[
        bool, switch("Read no tensors: no effects, NaN or zeros.", WHAT, "--headers-only")
    ] = False,
    vllm: Annotated[
        str,
        option(
            "A version, or a Python that has the vLLM.",
            WHERE,
            "VLLM",
            show_default="the tool's own",
        ),
    ] = "",
    flags: Annotated[
        str | None,
        option(
            "The server's flags.",
            WHERE,
            "FLAGS",
            show_default="those that serve the adapter best",
        ),
    ] = None,
    repair: Annotated[
        Path | None, option("Write a copy that this vLLM applies.", OUTPUT, "DIR")
    ] = None,
    drop: Annotated[
        bool, switch("Leave out of the copy what vLLM cannot apply.", OUTPUT, "--drop")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Tell which tensors of an adapter vLLM will apply, ignore or refuse; starts no server.

    Exit codes: 0 all are applied, 1 something is ignored, refused or broken in
    itself, 2 wrong usage.
    """
    from mm_lora.cli.commands.inspect import Wanted, run

    wanted = Wanted(
        path=adapter,
        model=model,
        vllm=vllm,
        flags=flags,
        repair=repair,
        drop=drop,
        headers_only=headers_only,
        as_json=as_json,
    )
    raise typer.Exit(run(wanted))


app.command(cls=Command, epilog=cli_watch.EXAMPLES)(cli_watch.watch)


@app.command(
    cls=Command,
    epilog=examples("mm-lora doctor", "mm-lora doctor --server-python /path/to/python"),
)
def doctor(server_python: ServerPython = None) -> None:
    """Show what is installed, what is missing and what to do about it.

    Exit codes: 0 nothing is missing, 3 something that a run needs is.
    """
    from mm_lora.cli.commands.doctor import run

    raise typer.Exit(run(server_python))


def main() -> None:
    """Entry point: an expected error becomes its message and its exit code."""
    try:
        app()
    except MmLoraError as error:
        typer.echo(f"mm-lora: {error}", err=True)
        sys.exit(int(error.exit_code))
