"""`mm-lora serve`: the server of a run, left running in the foreground with a curl line to try."""

import base64
import json
import shlex
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from mm_lora.adapters.sets import named
from mm_lora.adapters.spec import STANDARD
from mm_lora.core.asking import BASE
from mm_lora.core.errors import ExitCode, UsageError

if TYPE_CHECKING:
    from rich.console import Console

    from mm_lora.families.models import Model
    from mm_lora.run.settings import Settings
    from mm_lora.serving.server.process import VllmServer

# Not the patch embedding's: the profile does not wrap it, and one that does dies of it on a CPU.
DEFAULT_ADAPTERS = tuple(name for name in STANDARD if name != "patch-embedding")
_TURN_S = 0.5


def run(
    model: str = "scout",
    adapters: Sequence[str] = (),
    *,
    profile: str = "cpu",
    port: int | None = None,
    server_python: Path | None = None,
    settings: "Settings | None" = None,
) -> int:
    """Serve `model` with `adapters` until Ctrl-C or SIGTERM; the exit code of that.

    An adapter is the name of a known one, or `name=folder` for the user's own; none means
    every standard one that the profile's flags can serve. Raises UsageError and ServerError.
    """
    from rich.console import Console

    from mm_lora.families.models import resolve
    from mm_lora.run import profiles
    from mm_lora.run.options import RunOptions
    from mm_lora.run.plan import Wish, flag_values, server_spec
    from mm_lora.run.settings import Settings
    from mm_lora.serving.served_vllm import look_at, reference_choice
    from mm_lora.serving.server.process import VllmServer

    console = Console(highlight=False)
    say = _sayer(console)
    own = dict(_own_folder(word) for word in adapters if "=" in word)
    built = [word for word in adapters or DEFAULT_ADAPTERS if "=" not in word]
    resolved = resolve(model)
    place = profiles.load(profile)
    options = RunOptions(settings=settings or Settings())
    python = server_python or Path(sys.executable)
    vllm = look_at(python, say, diff_file=options.settings.vllm_patch, choice=options.feature)
    for line in vllm.news():
        say(line)
    wished = server_spec(Wish(model=resolved.name), [*built, *own], place, options)
    spec = vllm.fit(wished, flag_values(place))
    with _terminates() as ended:
        folder = Path(tempfile.mkdtemp(prefix="mm-lora-serve-"))
        try:
            checkpoint, folders = _build(
                resolved, built, reference_choice(options.reference_python, python, say), say
            )
            server = VllmServer(
                spec,
                python=python,
                checkpoint=checkpoint,
                adapters={**folders, **own},
                folder=folder,
                ready_timeout_s=place.ready_timeout_s,
                port=port,
                search=vllm.search,
                say=say,
            )
            say(f"starting vLLM for {spec.label}; log: {server.log}")
            with server:
                _introduce(server, folder, console)
                while True:
                    server.poll()
                    time.sleep(_TURN_S)
        except KeyboardInterrupt:
            say("stopped, nothing is left running")
            shutil.rmtree(folder, ignore_errors=True)
    return ended[0] if ended else ExitCode.SIGINT


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


def _build(
    model: "Model", names: Sequence[str], python: Path, say: Callable[[str], None]
) -> tuple[Path, dict[str, Path]]:
    """The checkpoint and the known adapters, from the cache or built."""
    specs = [named(name) for name in names]
    from mm_lora.truth.build import Builder

    with Builder(python, say) as builder:
        checkpoint = builder.checkpoint(model)
        folders = {name: one.path for name, one in builder.adapters(model, specs).items()}
    return checkpoint, folders


def _own_folder(word: str) -> tuple[str, Path]:
    name, _, folder = word.partition("=")
    if not name or not folder:
        raise UsageError(f"adapter '{word}' is not name=folder", "--adapter NAME=FOLDER")
    return name, Path(folder).expanduser()


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
