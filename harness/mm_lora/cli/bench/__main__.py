"""`python -m mm_lora.cli.bench`: measures all parts of a run in one go and writes bench.json."""

import argparse
import json
import os
import platform
import signal
import sys
import tempfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rich.console import Console

from mm_lora.cli.bench import parts
from mm_lora.cli.bench.rows import Row, as_json, compared, from_report, keyed, markdown, table
from mm_lora.core.errors import ExitCode, MmLoraError
from mm_lora.core.interpreters import facts

ONE_SERVER = f"dice/{parts.MODEL.name}/*"
"""The dice scenarios of one model, on one server: what the aim of the ratio is stated for."""


class Terminated(KeyboardInterrupt):
    """SIGTERM, so that it unwinds as Ctrl-C does: servers are stopped, the cache is removed."""


def main(arguments: list[str]) -> int:
    """0 when all could be measured, 3 when not, 130 and 143 when ended by a signal.

    A missed aim is shown, never failed. What was measured before trouble is still written.
    """
    parser = argparse.ArgumentParser(prog="mm_lora.cli.bench", description=__doc__)
    parser.add_argument(
        "--reports",
        type=Path,
        default=Path("reports/bench"),
        help="where bench.json, bench.md and the measured runs go (default reports/bench)",
    )
    parser.add_argument(
        "--quick", action="store_true", help="no verify but the dice, no probe: a third of the time"
    )
    parser.add_argument(
        "--full", action="store_true", help="verify --full of one model too, which takes long"
    )
    parser.add_argument("--json", type=Path, help="another file for bench.json")
    options = parser.parse_args(arguments)
    signal.signal(signal.SIGTERM, _terminated)
    rows: list[Row] = []
    code = ExitCode.PASS
    try:
        options.reports.mkdir(parents=True, exist_ok=True)
        measure(rows, options.reports / "runs", quick=options.quick, full=options.full)
    except (MmLoraError, OSError) as error:
        say(str(error))
        code = ExitCode.ERROR
    except KeyboardInterrupt as end:
        code = ExitCode.SIGTERM if isinstance(end, Terminated) else ExitCode.SIGINT
    if rows:
        file = options.json or options.reports / "bench.json"
        rows += compared(keyed(rows), _stored(file))
        console = Console()
        (console if console.is_terminal else Console(width=120)).print(table(rows))
        code = max(code, _write(file, options.reports / "bench.md", rows))
    return code


def measure(rows: list[Row], runs: Path, *, quick: bool, full: bool = False) -> None:
    """Append the rows of every part, in an empty cache of its own so that building is measured.

    `runs`: where the measured runs of verify leave their reports.
    """
    if os.environ.pop("PYTHONDONTWRITEBYTECODE", None):
        say("PYTHONDONTWRITEBYTECODE is left out: with it each start compiles what is not compiled")
    with tempfile.TemporaryDirectory(prefix="mm-lora-bench-") as cache:
        os.environ["MM_LORA_CACHE"] = cache
        load = os.getloadavg()[0]
        rows.append(Row(name="load of the machine at the start", value=load, unit="processes"))
        say("set-up and command line")
        rows += parts.set_up() + parts.command_line()
        say("building")
        rows += parts.building(say)
        say("a first start, not measured: it compiles byte code")
        parts.one_server("auto", say)
        say("plain start")
        made, plain_ready, plain_s = parts.one_server("plain", say)
        rows += made
        say("fast start")
        made, fast_ready, _ = parts.one_server("fast", say)
        rows += made
        ratio = fast_ready / plain_ready
        rows.append(Row(name="fast start / plain start", value=ratio, unit="×", aim=0.55))

        say(f"verify --only '{ONE_SERVER}'")
        dice = parts.verify(["--only", ONE_SERVER], runs)
        rows += from_report(dice.report)
        rows += parts.beside(dice, plain_s, aim=1.6, key="dice")
        rows += parts.memory(dice)
        if quick:
            return
        say("verify --only 'dice*': every model, a server each")
        every = parts.verify(["--only", "dice*"], runs)
        rows += parts.beside(every, plain_s)
        rows += filter(None, [parts.later(every, plain_ready)])
        say("verify, with an empty cache of reference answers, then again")
        cold = parts.verify([], runs)
        rows += parts.beside(
            cold, plain_s, "no reference answer known yet", aim=2.2, key="core_cold"
        )
        again = parts.verify([], runs)
        rows += from_report(again.report)
        note = "reference answers from the cache"
        rows += parts.beside(again, plain_s, note, aim=1.5, key="core_cached")
        rows.append(parts.overhead(again, plain_s))
        say("verify of two families, twice: the first fills the cache")
        for _ in range(2):
            two = parts.verify(["--model", parts.MODEL.name, "--model", parts.OTHER], runs)
        rows.append(parts.added(again, two, plain_s))
        if full:
            say("verify --full of one model")
            whole = parts.verify(["--full", "--model", parts.MODEL.name], runs)
            rows += parts.beside(whole, plain_s, key=f"full_{parts.MODEL.name}")
        say("probe")
        rows += parts.probe_cost(say)


def say(line: str) -> None:
    """Progress goes to stderr, so that the table alone is on stdout."""
    print(f"bench: {line}", file=sys.stderr, flush=True)


def _write(file: Path, pasted: Path, rows: list[Row]) -> ExitCode:
    made = datetime.now(UTC).isoformat(timespec="seconds")
    known = facts(parts.PYTHON)
    document = {
        "schema": 1,
        "made": made,
        "machine": f"{os.cpu_count()} cores, {platform.machine()}",
        "vllm": f"{known.distribution} {known.vllm}",
        **keyed(rows),
        "rows": as_json(rows),
    }
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
        pasted.write_text(markdown(rows), encoding="utf-8")
    except OSError as error:
        say(f"{error.filename} cannot be written: {error}")
        return ExitCode.ERROR
    say(f"wrote {file} and {pasted}, a table to paste")
    return ExitCode.PASS


def _stored(file: Path) -> dict[str, Any]:
    """The last bench there, empty if there is none that can be read."""
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def _terminated(signum: int, frame: object) -> None:
    raise Terminated


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
