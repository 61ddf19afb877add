"""The command line of `mm-lora watch`."""

from pathlib import Path
from typing import Annotated

import typer

from mm_lora.cli.help import HOW, OUTPUT, WHAT, WHERE, examples, option, switch

Repeated = list[str]

EXAMPLES = examples(
    "mm-lora watch --base-url http://127.0.0.1:8000",
    "mm-lora watch --base-url http://127.0.0.1:8000 --metrics mm_lora.prom --json",
    "mm-lora watch --base-url URL --adapter mine=MY_ADAPTER --model MODEL",
)


def watch(
    base_url: Annotated[str, option("The running server. Key: MM_LORA_API_KEY.", WHERE, "URL")],
    only: Annotated[
        Repeated | None, option("The adapters with these names alone (repeatable).", WHAT, "GLOB")
    ] = None,
    adapter: Annotated[
        Repeated | None,
        option("Inspect the files of this adapter too (repeatable).", WHAT, "NAME=FOLDER"),
    ] = None,
    model: Annotated[str, option("The base, for --adapter; as for inspect.", WHAT, "MODEL")] = "",
    timeout: Annotated[float, option("How long the whole pass may take.", HOW, "SECONDS")] = 300.0,
    metrics: Annotated[
        Path | None, option("For Prometheus' textfile collector.", OUTPUT, "FILE")
    ] = None,
    as_json: Annotated[bool, switch("Print JSON.", OUTPUT, "--json")] = False,
) -> None:
    """Judge the adapters of a running server from outside, in one short pass.

    Each differs from its base, repeats itself, and keeps out of the answers
    of who is asked at the same time, with text and with a picture: at most 10
    requests for each and 10 for the base, of 8 tokens. Nothing is loaded or
    emptied. Whether the numbers are right is not seen: see `mm-lora verify`.

    In a crontab: */15 * * * * mm-lora watch --base-url URL --metrics FILE

    Exit codes: 0 passed, 1 an adapter fails, 2 wrong usage, 3 trouble or
    nothing proved, 4 the server lists no adapters.
    """
    from mm_lora.cli.commands.watch import Wanted, run

    wanted = Wanted(
        base_url=base_url,
        only=only or (),
        adapters=adapter or (),
        model=model,
        timeout_s=timeout,
        metrics=metrics,
        as_json=as_json,
    )
    raise typer.Exit(run(wanted))
