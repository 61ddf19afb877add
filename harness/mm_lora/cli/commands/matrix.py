"""`mm-lora matrix`: verify over several vLLMs, each in an environment of its own."""

import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime

from rich.console import Console

from mm_lora.core.errors import ExitCode, MmLoraError, NoFeature, UsageError
from mm_lora.core.interpreters import facts
from mm_lora.core.journal import read_report
from mm_lora.core.resources import cache_dir
from mm_lora.core.run_folder import RunFolder
from mm_lora.install.version import environment_folder
from mm_lora.report import matrix_html, matrix_page, matrix_rows, scan_lines
from mm_lora.report.matrix_rows import Row
from mm_lora.run.inputs import Inputs, selected_models
from mm_lora.run.options import RunOptions
from mm_lora.run.profiles import load
from mm_lora.serving.chosen_vllm import environments as _environments
from mm_lora.serving.chosen_vllm import interpreter as _interpreter
from mm_lora.serving.chosen_vllm import is_path as _is_path
from mm_lora.serving.chosen_vllm import require_version as _require_version
from mm_lora.serving.scan import scan
from mm_lora.serving.served_vllm import look_at

Say = Callable[[str], None]


def run(versions: Sequence[str], options: RunOptions) -> int:
    """Verify with each vLLM, a version or an interpreter's path; returns the exit code.

    One that cannot be installed, or has nothing to verify, is a row with its reason.
    """
    words = list(dict.fromkeys(versions))
    profile = load(options.profile)
    selected_models(options, profile)
    for word in words:
        _require_version(word)
        if profile.needs.gpus and not _is_path(word):
            raise UsageError(
                "matrix makes environments for CPUs",
                "with a GPU profile, name interpreters by their paths",
            )
    console = Console(stderr=True, highlight=False)

    def say(line: str) -> None:
        console.print(f"matrix: {line.strip()}", markup=False, soft_wrap=True)

    folder = RunFolder.create(options.reports)
    started = datetime.now(UTC).isoformat(timespec="seconds")
    argv = ["mm-lora", "matrix", *words, *options.command_line()]
    rows: list[Row] = []
    for word in words:
        for row in _rows_of(word, options, folder, say):
            rows.append(row)
            folder.write_json("matrix.json", matrix_page.as_json(rows, argv, started))
            folder.write("matrix.md", matrix_page.markdown(rows))
            folder.write("matrix.html", matrix_html.render(rows, argv, started))
        if rows[-1].exit_code in (ExitCode.SIGINT, ExitCode.SIGTERM):
            break
    out = Console() if sys.stdout.isatty() else Console(width=160)
    out.print(matrix_page.table(rows))
    by_family = matrix_page.family_table(rows)
    if by_family is not None:
        out.print(by_family)
    for row in rows:
        if row.reason:
            out.print(f"{row.label}: {row.reason}", markup=False, highlight=False, soft_wrap=True)
        if row.scan:
            said = f"{row.label}: scan: {scan_lines.summary(row.scan)}"
            out.print(said, markup=False, highlight=False, soft_wrap=True)
    out.print(f"report: {folder.path}", markup=False, highlight=False, soft_wrap=True)
    return int(matrix_rows.worst(rows))


def clean(versions: Sequence[str]) -> int:
    """Remove the environments of these versions, without any the patched copies too."""
    root = _environments()
    for word in versions:
        _require_version(word)
    places = [environment_folder(version, root) for version in versions]
    for place in places or [root, cache_dir() / "patched"]:
        if place.is_dir():
            print(f"removing {place}", file=sys.stderr)
            shutil.rmtree(place)
    return 0


def _rows_of(word: str, options: RunOptions, folder: RunFolder, say: Say) -> list[Row]:
    """Every row of one vLLM; an expected error becomes a row."""
    diff = options.settings.vllm_patch
    try:
        python = _interpreter(word, say)
        version = facts(python).vllm or word
        families = Inputs.read(options).served_families
        served = look_at(python, families, say)
        lacks, own = bool(served.lacks), scan(served.source.folder)
    except MmLoraError as error:
        reason = str(error)
        return [
            Row(
                version=word, patch="-", state=matrix_rows.NOT_INSTALLED, exit_code=0, reason=reason
            )
        ]
    rows = []
    for choice in matrix_rows.choices(lacks, options.settings.patch, diff=diff is not None):
        settings = replace(options.settings, patch=choice)
        chosen = replace(options, settings=settings, server_python=python)
        patch = f"{diff.name} ({chosen.feature})" if diff else chosen.feature
        try:
            served = look_at(python, families, say, diff_file=diff, choice=chosen.feature)
        except NoFeature as error:
            state, code = matrix_rows.NO_FEATURE, ExitCode.PASS
            rows.append(replace(_not_run(version, patch, state, code, error), scan=own))
            continue
        except UsageError as error:
            state, code = matrix_rows.NO_PATCH, ExitCode.USAGE
            rows.append(_not_run(version, patch, state, code, error))
            continue
        read = scan(served.source.folder) if diff else own
        rows.append(replace(_verified(version, patch, chosen, folder, say), scan=read))
        if rows[-1].exit_code in (ExitCode.SIGINT, ExitCode.SIGTERM):
            break
    return rows


def _not_run(version: str, patch: str, state: str, code: ExitCode, error: MmLoraError) -> Row:
    return Row(version=version, patch=patch, state=state, exit_code=int(code), reason=error.what)


def _verified(version: str, patch: str, options: RunOptions, folder: RunFolder, say: Say) -> Row:
    """Run `mm-lora verify` in a process of its own; its summary goes into a file of the row."""
    name = "".join(c if c.isalnum() or c in ".-" else "-" for c in f"{version}-{patch}")
    place = folder.path / "rows" / name
    place.mkdir(parents=True)
    line = replace(options, reports=place).command_line()
    say(f"vLLM {version}, patch {patch}: mm-lora verify {' '.join(line)}")
    with (place / "summary.txt").open("w", encoding="utf-8") as summary:
        process = subprocess.Popen(
            [sys.executable, "-m", "mm_lora", "verify", *line], stdout=summary
        )
        code = _wait(process)
    latest = place / "latest"
    if not (latest / "report.json").is_file():
        reason = f"verify ended with exit code {code} before it wrote a report"
        return Row(
            version=version, patch=patch, state=matrix_rows.RAN, exit_code=code, reason=reason
        )
    where = str(latest.resolve().relative_to(folder.path.resolve()))
    return matrix_rows.ran(version, patch, code, read_report(latest), where)


def _wait(process: subprocess.Popen[bytes]) -> int:
    """Its exit code. What ends the matrix ends it too, and it is given the time to write."""

    def pass_on(number: int, frame: object) -> None:
        process.send_signal(number)

    def wait(number: int, frame: object) -> None:
        """Ctrl-C reaches the child by itself: the matrix only waits for its report."""

    theirs = {signal.SIGTERM: signal.getsignal(signal.SIGTERM)}
    theirs[signal.SIGINT] = signal.getsignal(signal.SIGINT)
    try:
        signal.signal(signal.SIGTERM, pass_on)
        signal.signal(signal.SIGINT, wait)
        return process.wait()
    finally:
        for number, handler in theirs.items():
            signal.signal(number, handler)
