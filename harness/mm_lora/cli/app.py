"""The command line: parses, builds options, calls. Every heavy import is inside its command.

Exit codes: 0 passed, 1 a check failed, 2 wrong usage, 3 trouble, 4 nothing judged,
130 and 143 ended by a signal.
"""

import sys
from pathlib import Path
from typing import Annotated

import typer

from mm_lora import __version__
from mm_lora.cli import build_app as cli_build
from mm_lora.cli import defect_app as cli_defect
from mm_lora.cli import report_app as cli_report
from mm_lora.core.errors import MmLoraError

app = typer.Typer(
    help="Does this vLLM apply my LoRA adapter to the right rows of a multimodal model?",
    epilog="Exit codes: 0 passed, 1 a check failed, 2 wrong usage, 3 trouble, 4 nothing judged.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

app.add_typer(cli_build.app, name="build")
app.add_typer(cli_report.app, name="report")
app.add_typer(cli_defect.app, name="defect")

Repeated = list[str]


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"mm-lora {__version__}")
        raise typer.Exit


@app.callback()
def root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Check that a vLLM applies LoRA adapters to tower, connector and language model."""


@app.command()
def verify(
    context: typer.Context,
    profile: Annotated[
        str | None, typer.Option(help="Where to run: a name or a .toml file.  [default: cpu]")
    ] = None,
    base_url: Annotated[
        str,
        typer.Option(help="Judge a running server (profile remote). Key: MM_LORA_API_KEY."),
    ] = "",
    model: Annotated[
        Repeated | None,
        typer.Option(help="A model, a family, a config, `all` or `all-families` (repeatable)."),
    ] = None,
    full: Annotated[bool, typer.Option(help="Run all checks, not only the core.")] = False,
    only: Annotated[
        Repeated | None, typer.Option(help="Run the checks with these ids (globs; * crosses /).")
    ] = None,
    skip: Annotated[
        Repeated | None, typer.Option(help="Leave out the checks with these ids (globs).")
    ] = None,
    server_python: Annotated[
        Path | None, typer.Option(help="The Python that has the vLLM to verify.")
    ] = None,
    reference_python: Annotated[
        Path | None, typer.Option(help="The Python that has the reference's transformers.")
    ] = None,
    adapter: Annotated[
        Repeated | None, typer.Option(help="Also verify this PEFT adapter: NAME=FOLDER.")
    ] = None,
    reports: Annotated[Path, typer.Option(help="The folder for reports.")] = Path("reports"),
    with_fixes: Annotated[
        bool, typer.Option(help="Fix the known defects inside the server.")
    ] = False,
    strict: Annotated[bool, typer.Option(help="Count known defects as failures.")] = False,
    dry_run: Annotated[
        bool, typer.Option(help="Print the servers, the checks and the expected time; run nothing.")
    ] = False,
    seed: Annotated[int, typer.Option(help="Seed of the random weights and adapters.")] = 0,
    setting: Annotated[
        Repeated | None, typer.Option("--set", help="A less common setting, key=value.")
    ] = None,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print the verdict alone.")] = False,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Print the tables too.")] = False,
) -> None:
    """Start a real vLLM server and check it; the report goes to REPORTS/latest."""
    from mm_lora.report.terminal import talk_of
    from mm_lora.run.options import of_command
    from mm_lora.run.runner import run_checks, show_plan

    options = of_command(context.params)
    if options.dry_run:
        raise typer.Exit(show_plan(options))
    raise typer.Exit(run_checks(options, talk_of(quiet=quiet, verbose=verbose)))


@app.command()
def matrix(
    context: typer.Context,
    versions: Annotated[
        Repeated | None, typer.Argument(help="Versions such as 0.17.0, or paths of interpreters.")
    ] = None,
    profile: Annotated[str, typer.Option(help="Where to run: a name or a .toml file.")] = "cpu",
    model: Annotated[Repeated | None, typer.Option(help="As for verify.")] = None,
    full: Annotated[bool, typer.Option(help="Run all checks, not only the core.")] = False,
    only: Annotated[
        Repeated | None, typer.Option(help="Run the checks with these ids (globs).")
    ] = None,
    skip: Annotated[
        Repeated | None, typer.Option(help="Leave out the checks with these ids (globs).")
    ] = None,
    reports: Annotated[Path, typer.Option(help="The folder for reports.")] = Path("reports"),
    clean: Annotated[
        bool, typer.Option(help="Remove the cached environments; run nothing.")
    ] = False,
    setting: Annotated[
        Repeated | None, typer.Option("--set", help="patch=… or vllm-patch=FILE, as for verify.")
    ] = None,
) -> None:
    """Verify over several vLLM versions, each in a cached environment of its own."""
    from mm_lora.cli.commands import matrix as command
    from mm_lora.core.errors import UsageError
    from mm_lora.run.options import of_command

    if clean:
        raise typer.Exit(command.clean(versions or ()))
    if not versions:
        raise UsageError("matrix needs at least one version")
    raise typer.Exit(command.run(versions, of_command(context.params)))


@app.command()
def mutants(
    family: Annotated[
        str | None, typer.Option(help="A family's mutants, in its default model.")
    ] = None,
    model: Annotated[str | None, typer.Option(help="A model, as for verify.")] = None,
    lane: Annotated[
        Repeated | None,
        typer.Option(help="checks, answers or relations (repeatable).  [default: checks]"),
    ] = None,
    only: Annotated[
        Repeated | None, typer.Option(help="Seed the mutants with these ids (globs).")
    ] = None,
    shard: Annotated[str, typer.Option(help="I/N: this part of the mutants.")] = "",
    every: Annotated[
        bool, typer.Option(help="Judge by every check of a mutant, not only until one fails.")
    ] = False,
    reports: Annotated[Path, typer.Option(help="The folder for reports.")] = Path("reports"),
    with_fixes: Annotated[bool, typer.Option(help="Fix the known defects first.")] = True,
    dry_run: Annotated[
        bool, typer.Option(help="Print the mutants and their checks; run nothing.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print mutants.json.")] = False,
    page: Annotated[
        Path | None, typer.Option(help="Write the list of all mutants into this page instead.")
    ] = None,
    setting: Annotated[
        Repeated | None, typer.Option("--set", help="A less common setting, as for verify.")
    ] = None,
) -> None:
    """Seed each mutant in a running server and show which check kills it.

    A mutant is killed when a check that passes without it fails with it. Example:

    mm-lora mutants --only 'base-*' --lane checks --lane relations

    Exit codes: 0 each is killed or says why not, 1 one survives that does not say why, 2 wrong
    usage, 3 a check fails without a mutant, 4 none was judged.
    """
    from mm_lora.cli.commands.mutants import run, write_page

    if page is not None:
        raise typer.Exit(write_page(page))
    told = {"reports": reports, "with_fixes": with_fixes, "setting": setting}
    lanes, names = lane or ["checks"], (family, model)
    raise typer.Exit(
        run(told, names, lanes, only or (), shard, every=every, dry_run=dry_run, as_json=as_json)
    )


@app.command(name="list")
def list_command(
    context: typer.Context,
    only: Annotated[
        Repeated | None, typer.Option(help="Show the checks with these ids (globs).")
    ] = None,
    model: Annotated[
        Repeated | None, typer.Option(help="Show the checks of these models (repeatable).")
    ] = None,
    full: Annotated[bool, typer.Option(help="List all checks, not only the core.")] = False,
) -> None:
    """List the checks, their ids and the servers that they need."""
    from mm_lora.run.options import of_command
    from mm_lora.run.runner import list_checks

    raise typer.Exit(list_checks(of_command(context.params)))


@app.command()
def tokens(
    model: Annotated[str, typer.Argument(help="A model, a family, a config or a folder.")],
    image: Annotated[
        Repeated | None, typer.Option(help="A picture size, WxH (repeatable).")
    ] = None,
    video: Annotated[
        Repeated | None,
        typer.Option(help="A video's size, FRAMESxWxH, of frames that are kept (repeatable)."),
    ] = None,
    sound: Annotated[
        Repeated | None, typer.Option(help="A sound's length in samples (repeatable).")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Compute the rows and tokens of a model for pictures, videos and sounds of any size."""
    from mm_lora.cli.commands.tokens import run

    raise typer.Exit(run(model, image or [], as_json, video or [], sound or []))


@app.command()
def serve(
    model: Annotated[
        str | None, typer.Argument(help="A model, a family or a folder.  [default: the profile's]")
    ] = None,
    adapter: Annotated[
        Repeated | None, typer.Option(help="A known adapter, or NAME=FOLDER (repeatable).")
    ] = None,
    profile: Annotated[str, typer.Option(help="Where to run: a name or a .toml file.")] = "cpu",
    port: Annotated[int | None, typer.Option(help="The port.  [default: a free one]")] = None,
    server_python: Annotated[
        Path | None, typer.Option(help="The Python that has the vLLM to serve with.")
    ] = None,
    setting: Annotated[
        Repeated | None,
        typer.Option("--set", help="A less common setting, key=value, as for verify."),
    ] = None,
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


@app.command()
def families(
    server_python: Annotated[
        Path | None, typer.Option(help="The Python that has the vLLM to read.")
    ] = None,
    scan: Annotated[
        bool, typer.Option(help="Read vLLM's source for what adapters will miss.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    pages: Annotated[
        Path | None, typer.Option(help="Write a page for each family into this folder instead.")
    ] = None,
) -> None:
    """List the model families, and the vLLM classes that no family covers yet."""
    from mm_lora.cli.commands.families import run, write_pages

    if pages is not None:
        raise typer.Exit(write_pages(pages))
    raise typer.Exit(run(server_python, as_json, scan=scan))


@app.command()
def inspect(
    adapter: Annotated[Path, typer.Argument(help="A PEFT folder, a folder of several, or a .zip.")],
    model: Annotated[str, typer.Option(help="A model, a family, a config or a folder.")],
    vllm: Annotated[
        str, typer.Option(help="A version, or a Python that has the vLLM.  [default: the tool's]")
    ] = "",
    flags: Annotated[
        str | None,
        typer.Option(help="The server's flags.  [default: those that serve the adapter best]"),
    ] = None,
    repair: Annotated[
        Path | None, typer.Option(help="Write a copy that this vLLM applies into this folder.")
    ] = None,
    drop: Annotated[
        bool, typer.Option(help="Leave out of the copy what this vLLM cannot apply.")
    ] = False,
    headers_only: Annotated[
        bool, typer.Option(help="Read no tensors: no effects, no NaN, no zeros.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Tell which tensors of an adapter vLLM will apply, ignore or refuse; starts no server."""
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


@app.command()
def doctor(
    server_python: Annotated[
        Path | None, typer.Option(help="The Python that has the vLLM to use.")
    ] = None,
) -> None:
    """Show what is installed, what is missing and what to do about it."""
    from mm_lora.cli.commands.doctor import run

    raise typer.Exit(run(server_python))


def main() -> None:
    """Entry point: an expected error becomes its message and its exit code."""
    try:
        app()
    except MmLoraError as error:
        typer.echo(f"mm-lora: {error}", err=True)
        sys.exit(int(error.exit_code))
