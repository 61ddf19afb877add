"""What GitHub Actions shows of a run: its Markdown on the job's page, and annotations.

A workflow command is one line, `::error title=…::…`, with the escapes of GitHub's toolkit:
https://github.com/actions/toolkit/blob/main/packages/core/src/command.ts. GitHub shows ten errors
and ten notices of a step; the page has them all.
"""

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from mm_lora.core.outcomes import Outcome
from mm_lora.core.record import Check, MetDefect
from mm_lora.report import markdown, text
from mm_lora.report.view import View, why


def tell(view: View, environment: Mapping[str, str], say: Callable[[str], object] = print) -> None:
    """Annotate the job and add to its page; nothing where GITHUB_ACTIONS is not set."""
    if not environment.get("GITHUB_ACTIONS"):
        return
    for line in annotations(view):
        say(line)
    if page := environment.get("GITHUB_STEP_SUMMARY"):
        try:
            with Path(page).open("a", encoding="utf-8") as file:
                file.write(markdown.render(view))
        except OSError as error:
            say(command("warning", "mm-lora", f"the job's page cannot be written: {error}"))


def annotations(view: View) -> Iterator[str]:
    """An error for each check that failed, proved nothing or was not judged; then a notice for
    each known defect, an error where it counts as a failure. A run that ended badly has one."""
    report = view.report
    bad = [
        check
        for cause in view.causes
        for check in cause.checks
        if check.outcome is not Outcome.FIXED_UPSTREAM or report.fails(check)
    ]
    for check in bad:
        yield command("error", f"{check.outcome}: {check.id}", _of_check(check))
    known = [check for check in report.checks if check.outcome is Outcome.KNOWN_DEFECT]
    strict = any(report.fails(check) for check in known)
    for entry in view.defects:
        level = "error" if strict else "notice"
        yield command(level, f"known defect: {entry.id}", _of_defect(entry))
    if report.exit_code and not bad and not (strict and view.defects):
        yield command("error", f"mm-lora: {view.outcome}", report.note or view.verdict)


def command(level: str, title: str, words: str) -> str:
    """A workflow command."""
    escaped = _escaped(title).replace(":", "%3A").replace(",", "%2C")
    return f"::{level} title={escaped}::{_escaped(words)}"


def _escaped(words: str) -> str:
    return words.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _of_check(check: Check) -> str:
    repeat = [f"repeat: {check.repeat}"] if check.repeat else []
    return "\n".join([check.title, text.short(why(check).partition("\n")[0]), *repeat])


def _of_defect(entry: MetDefect) -> str:
    met = f"{entry.met_by} check{'s' if entry.met_by != 1 else ''} met it"
    return f"{met}: {text.short(entry.observed)}\ncause: {text.short(entry.cause)}"
