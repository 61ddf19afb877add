"""`python -m mm_lora.bench`: measures all parts of a run in one go and writes bench.json."""

import argparse
import json
import os
import sys
import tempfile
from datetime import UTC, datetime
from pathlib import Path

from mm_lora.bench import parts
from mm_lora.bench.rows import Row, as_json, markdown
from mm_lora.errors import ExitCode, MmLoraError


def main(arguments: list[str]) -> int:
    """0 when everything could be measured, 3 otherwise. A missed aim is shown, never failed."""
    parser = argparse.ArgumentParser(prog="mm_lora.bench", description=__doc__)
    parser.add_argument(
        "--reports", type=Path, default=Path("reports"), help="where bench.json goes"
    )
    parser.add_argument("--quick", action="store_true", help="no whole verify, no probe")
    options = parser.parse_args(arguments)
    rows: list[Row] = []
    try:
        measure(rows, quick=options.quick)
        code = ExitCode.PASS
    except MmLoraError as error:
        print(f"bench: {error}", file=sys.stderr)
        code = error.exit_code
    except KeyboardInterrupt:
        code = ExitCode.SIGINT
    print(markdown(rows), end="")
    options.reports.mkdir(parents=True, exist_ok=True)
    when = datetime.now(UTC).isoformat(timespec="seconds")
    text = json.dumps({"schema": 1, "made": when, "rows": as_json(rows)}, indent=1)
    Path(options.reports, "bench.json").write_text(text + "\n", encoding="utf-8")
    return code


def measure(rows: list[Row], *, quick: bool) -> None:
    """Append the rows of every part, in an empty cache of its own so that building is measured."""
    with tempfile.TemporaryDirectory(prefix="mm-lora-bench-") as cache:
        os.environ["MM_LORA_CACHE"] = cache
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
        rows += [
            *made,
            Row(
                name="fast start / plain start", value=fast_ready / plain_ready, unit="×", aim=0.55
            ),
        ]
        say("verify --only 'dice/scout/*'")
        rows += parts.verify(["--only", "dice/scout/*"], plain_s, aim=1.6)
        if quick:
            return
        say("verify, with an empty cache of reference answers, then again")
        rows += parts.verify([], plain_s, note="no reference answer known yet")[-4:]
        rows += parts.verify([], plain_s, note="reference answers from the cache")
        say("probe")
        rows += parts.probe_cost(say)


def say(line: str) -> None:
    """Progress goes to stderr, so that the table alone is on stdout."""
    print(f"bench: {line}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
