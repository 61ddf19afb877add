"""`mm-lora serve`: the server of a run, left running in the foreground with a curl line to try."""

import base64
import json
import shlex
import shutil
import signal
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from mm_lora.adapters.sets import named
from mm_lora.checks.roles import everyone
from mm_lora.core.asking import BASE
from mm_lora.core.errors import ExitCode, UsageError

if TYPE_CHECKING:
    from rich.console import Console

    from mm_lora.run.inputs import Inputs
    from mm_lora.run.options import RunOptions
    from mm_lora.run.recipe import Stock
    from mm_lora.serving.served_vllm import ServedVllm
    from mm_lora.serving.server.process import VllmServer

_TURN_S = 0.5
_VERIFY = "use `mm-lora verify` for that"


def run(options: "RunOptions", adapters: Sequence[str] = ()) -> int:
    """Serve the options' model with `adapters` until Ctrl-C or SIGTERM; the exit code of that.

    An adapter is the name of a known one, or `name=folder` for the user's own; none means
    every standard one that the profile's flags can serve. Raises UsageError and ServerError.
    """
    from rich.console import Console

    from mm_lora.run import needs
    from mm_lora.run.builds import Builds

    console = Console(highlight=False)
    say = _sayer(console)
    inputs = inputs_of(options, adapters)
    models = inputs.models.values()
    needs.require(inputs.profile, models, inputs.server_python, say)
    with _terminates() as ended, closing(Builds(inputs, say)) as builds:
        folder = Path(tempfile.mkdtemp(prefix="mm-lora-serve-"))
        try:
            builds.require_files(inputs.models)
            server = server_of(inputs, adapters, builds.vllm, builds, folder, say)
            builds.close()
            say(f"starting vLLM for {server.spec.label}; log: {server.log}")
            with server:
                _introduce(server, folder, console)
                while True:
                    server.poll()
                    time.sleep(_TURN_S)
        except KeyboardInterrupt:
            say("stopped, nothing is left running")
            shutil.rmtree(folder, ignore_errors=True)
    return ended[0] if ended else ExitCode.SIGINT


def inputs_of(options: "RunOptions", adapters: Sequence[str]) -> "Inputs":
    """The inputs of the run whose server this is. Raises UsageError for what means nothing here."""
    from mm_lora.run.inputs import Inputs

    settings = options.settings
    for key, told in (("shard", settings.shard), ("soak", settings.soak)):
        if told is not None:
            raise UsageError(
                f"--set {key} does not apply to serve, which judges no checks", _VERIFY
            )
    if settings.replay is not None:
        raise UsageError("--set replay does not apply to serve, which sends no requests", _VERIFY)
    if options.profile == "remote":
        raise UsageError("profile remote starts no server", "name another --profile")
    own = tuple(word for word in adapters if "=" in word)
    inputs = Inputs.read(replace(options, adapter=own))
    if len(inputs.models) != 1:
        raise UsageError("a server serves one model", "name one of " + ", ".join(inputs.models))
    names = _served(inputs, adapters)
    if settings.broken is not None and (name := settings.broken[0]) not in names:
        raise UsageError(
            f"--set break names {name}, which this server does not serve", f"add --adapter {name}"
        )
    return inputs


def server_of(
    inputs: "Inputs",
    adapters: Sequence[str],
    vllm: "ServedVllm",
    stock: "Stock",
    folder: Path,
    say: Callable[[str], None],
) -> "VllmServer":
    """The server that a run with these inputs would start, not started."""
    from mm_lora.run.dry_run import shown
    from mm_lora.run.plan import Wish, family_flags, server_spec
    from mm_lora.run.recipe import recipe

    for line in vllm.news():
        say(line)
    (model,) = inputs.models
    wish = Wish(model=model, defaults=family_flags(inputs.model(model).family))
    spec = server_spec(wish, _served(inputs, adapters), inputs.profile, inputs.options)
    made = recipe(spec, inputs, vllm, stock, folder)
    for name, value in made.left_out.items():
        say(f"left out, this vLLM has no such flag: --{name} {shown(value)}".rstrip())
    return made.cook().server(folder, say)


def try_it(base_url: str, model: str, request: Path) -> str:
    """The curl line for a request in a file."""
    url = shlex.quote(f"{base_url}/v1/chat/completions")
    data = shlex.quote(f"@{request}")
    return f"curl -s {url} -H 'Content-Type: application/json' -d {data}  # as {model}"


def picture_request(model: str, png: bytes) -> dict[str, object]:
    """A chat request about one picture, greedy, 16 tokens."""
    url = "data:image/png;base64," + base64.b64encode(png).decode()
    return {
        "model": model,
        "messages": [
            {
                "role": "user",
                "content": [
                    {"type": "image_url", "image_url": {"url": url}},
                    {"type": "text", "text": "What do the dice show?"},
                ],
            }
        ],
        "max_tokens": 16,
        "temperature": 0,
    }


def _introduce(server: "VllmServer", folder: Path, console: "Console") -> None:
    from mm_lora.core.images import dice, png_bytes

    png = png_bytes(dice())
    (folder / "dice.png").write_bytes(png)
    console.print(f"ready after {server.ready_s:.1f} s ({server.start_mode} start)", style="green")
    console.print(f"{server.base_url}/v1 serves: {', '.join(_names(server))}", soft_wrap=True)
    console.print(f"the picture: {folder / 'dice.png'}; try:", soft_wrap=True)
    last = _names(server)[-1]
    for name in dict.fromkeys((BASE, last)):
        request = folder / f"ask-{name.replace('/', '_')}.json"
        request.write_text(json.dumps(picture_request(name, png)), encoding="utf-8")
        console.print(try_it(server.base_url, name, request), markup=False, soft_wrap=True)
    console.print("Ctrl-C ends it.")


def _names(server: "VllmServer") -> list[str]:
    return [BASE, *server.spec.adapters]


def _served(inputs: "Inputs", adapters: Sequence[str]) -> list[str]:
    (model,) = inputs.models.values()
    known = [word for word in adapters or everyone(model.family) if "=" not in word]
    return [*(named(model.family, name).name for name in known), *inputs.own]


def _sayer(console: "Console") -> Callable[[str], None]:
    return lambda line: console.print(line, markup=False, soft_wrap=True)


@contextmanager
def _terminates() -> Iterator[list[int]]:
    """SIGTERM as KeyboardInterrupt, so that both end the server; the list gets its exit code."""
    ended: list[int] = []

    def interrupt(number: int, frame: object) -> None:
        ended.append(ExitCode.SIGTERM)
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield ended
    finally:
        signal.signal(signal.SIGTERM, before)
