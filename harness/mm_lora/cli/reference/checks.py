"""docs/reference/checks.md: what each check claims, and what a pass of its group does not prove."""

import re
from collections.abc import Callable, Iterator, Sequence
from fnmatch import translate
from functools import cache

from mm_lora.cli.reference import written
from mm_lora.core.selection import GROUPS
from mm_lora.families import registry
from mm_lora.inside.catalogue import PATCHES
from mm_lora.inside.registry import Patch
from mm_lora.report import claims
from mm_lora.report.pipe_table import table
from mm_lora.run.case_list import Case

MOST_NAMED = 3

HEAD = (
    "A check is one judged comparison. Its id is `group/model/subject/variant`; a word in capitals "
    "stands for what the model's family, or the user, fills in. `mm-lora list` shows the ids of a "
    "run, `mm-lora list --full` all of them."
)

COLUMNS = (
    (
        "runs in",
        "`core`: `mm-lora verify` runs it; `core in part`: some of its checks; `full`: `--full` "
        "alone. `--only` selects from all",
    ),
    (
        "needs",
        "truths that the profile must have: `reference` is transformers and PEFT, `rows` is what "
        "a probe sees in the layers. Without a word, arithmetic, files and the server's own "
        "answers do",
    ),
    (
        "mutants",
        "seeded defects that name it among the checks that fail of them: which, or how many if "
        f"more than {MOST_NAMED} ([mutants](../mutants.md))",
    ),
)

FOOT = (
    "A check that passes proves its claim for what it asked: one model, one vLLM, one profile. "
    "Where a miniature is served, that is the published geometry and structure with small widths "
    "and random weights. The end of each report says how many mutants none of its checks could "
    "have seen."
)


def page(cases: Sequence[Case]) -> str:
    """The page, group by group."""
    lines = [HEAD, "", *table(("column", "says"), COLUMNS), "", FOOT, ""]
    for group in GROUPS:
        lines += _group(group, [case for case in cases if case.group == group])
    return written.page("Checks", lines)


def _group(group: str, cases: Sequence[Case]) -> Iterator[str]:
    yield from (f"## {group}", "")
    yield from (claims.of(group), "", f"**Not proved by a pass.** {claims.BLIND[group]}", "")
    rows = [
        (
            f"`{_capitals(case.id)}`",
            _capitals(case.title),
            case.when + (", of every model" if case.every_model else ""),
            ", ".join(case.truths),
            _mutants(case),
        )
        for case in cases
    ]
    yield from table(("check", "claim", "runs in", "needs", "mutants"), rows)
    yield ""


def _capitals(text: str) -> str:
    return re.sub(r"\{(\w+)\}", lambda hit: hit.group(1).upper(), text)


def _mutants(case: Case) -> str:
    names = [one.id.removeprefix("mutant-") for one in PATCHES if _kills(one, case)]
    if len(names) > MOST_NAMED:
        return str(len(names))
    return ", ".join(f"`{name}`" for name in names)


def _kills(one: Patch, case: Case) -> bool:
    patterns = [pattern for pattern in one.kills if pattern.partition("/")[0] == case.group]
    return any(
        compiled(check)
        for compiled in map(_matcher, patterns)
        for check in case.checks
        if not one.families or _family(check) in one.families
    )


@cache
def _matcher(pattern: str) -> Callable[[str], object]:
    """`matches` for very many ids."""
    return re.compile(translate(pattern)).match


@cache
def _family(check: str) -> str:
    published = registry.published()
    model = check.split("/")[1]
    return published[model].name if model in published else ""
