"""`mm-lora defect`: what is known of each defect, and the commands that show it."""

import difflib
import json
import shlex
import sys
import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from packaging.version import InvalidVersion, Version

from mm_lora.checks import defect_diffs, defects
from mm_lora.checks.defects import Defect
from mm_lora.core.errors import ExitCode, UsageError
from mm_lora.families import registry
from mm_lora.inside.catalogue import PATCHES

SCHEMA = 1
_THREAD = "https://github.com/vllm-project/vllm/pull/"
"""GitHub leads from here to an issue of the number, too."""


def list_all(version: str | None, family: str | None, as_json: bool) -> int:
    """Print the entries of that vLLM and family, None for all. Raises UsageError for others."""
    found = chosen(defects.load(), version, family)
    if as_json:
        document = {"schema": SCHEMA, "defects": [as_document(one) for one in found]}
        print(json.dumps(document, ensure_ascii=False, indent=1))
        return ExitCode.PASS
    for one in found:
        families = ", ".join(one.families) or "every family"
        print(f"{one.id}: {families}; {_seen(one)}")
        print(textwrap.fill(one.observed, 80, initial_indent="    ", subsequent_indent="    "))
    return ExitCode.PASS


def show(name: str, as_json: bool) -> int:
    """Print one entry. Raises UsageError for an id that there is not."""
    one = named(defects.load(), name)
    if as_json:
        print(json.dumps(as_document(one), ensure_ascii=False, indent=1))
    else:
        print("\n".join(lines(one)))
    return ExitCode.PASS


def diff(name: str, out: Path | None) -> int:
    """Print the fix of an entry as a patch, or write it to `out`; EMPTY where there is none.

    Raises UsageError for an id that there is not, and for a file that cannot be written.
    """
    one = named(defects.load(), name)
    text = defect_diffs.read(one.fix)
    if text is None:
        print(f"{one.id} has no diff: {defect_diffs.why_none(one)}", file=sys.stderr)
        return ExitCode.EMPTY
    if out is None:
        print(text, end="")
        return ExitCode.PASS
    try:
        out.write_text(text, encoding="utf-8")
    except OSError as error:
        raise UsageError(f"{out} cannot be written: {error}", "--out") from error
    print(f"{out}: the change of vLLM {defect_diffs.RELEASE}")
    return ExitCode.PASS


def chosen(entries: Sequence[Defect], version: str | None, family: str | None) -> list[Defect]:
    """Those that a vLLM version and a family have; None for any."""
    if version is not None:
        try:
            Version(version)
        except InvalidVersion as error:
            raise UsageError(f"'{version}' is no version", "--vllm, as in 0.32.0") from error
    of = None if family is None else registry.family(family)
    return [
        one
        for one in entries
        if (version is None or one.seen_in(version, one.platform)) and (of is None or one.is_of(of))
    ]


def named(entries: Sequence[Defect], name: str) -> Defect:
    """The entry of that id. Raises UsageError with those that are like it."""
    known = {one.id: one for one in entries}
    if name not in known:
        near = difflib.get_close_matches(name, known, n=3)
        raise UsageError(
            f"there is no known defect '{name}'",
            f"did you mean {' or '.join(near)}?" if near else "`mm-lora defect list`",
        )
    return known[name]


def model_of(one: Defect) -> str:
    """That of its smallest case, where it names one; or the first family's default."""
    named = one.smallest.split("/")[1:2]
    if named and named[0] in registry.published():
        return named[0]
    name = next(iter(one.families), next(iter(registry.families())))
    return registry.family(name).published[0]


def commands(one: Defect) -> tuple[str, str]:
    """What shows the defect with the least, and the same with every fix; "" without a fix.

    Where no check fails of it for sure, all that may.
    """
    model = model_of(one)
    words = ["mm-lora", "verify", "--model", model]
    checks = [one.smallest] if one.smallest else one.checks
    for check in checks:
        words += ["--only", check.format(model=model).replace("/*/", f"/{model}/", 1)]
    line = shlex.join(words)
    return f"{line} --strict", f"{line} --with-fixes" if one.fix else ""


def diff_command(one: Defect) -> str:
    """What prints its fix as a patch; "" where there is no diff."""
    return "" if defect_diffs.read(one.fix) is None else f"mm-lora defect diff {one.id}"


def as_document(one: Defect) -> dict[str, Any]:
    """For programs: the entry, the links of its threads and its commands."""
    shows, fixed = commands(one)
    return {
        **asdict(one),
        "upstream": [_link(thread) for thread in one.upstream],
        "shows": shows,
        "shows_fixed": fixed,
        "diff": diff_command(one),
    }


def lines(one: Defect) -> Iterator[str]:
    """For people."""
    shows, fixed = commands(one)
    yield f"{one.id}  ({_seen(one)})"
    yield f"families: {', '.join(one.families) or 'all'}"
    yield f"expected: {one.expected}"
    yield f"observed: {one.observed}"
    if one.means:
        yield f"means:    for an adapter, {one.means}"
    if one.by_chance:
        sure = "the smallest case always, the others" if one.smallest else "only"
        yield f"          not in every run: {sure} as requests meet"
    if one.without:
        yield f"without:  vLLM {', '.join(one.without)} does not have it"
    yield f"cause:    {one.cause}"
    threads = ", ".join(map(_link, one.upstream)) or "no thread"
    yield f"upstream: {threads} (searched {one.searched})"
    yield f"see it:   {shows}"
    if fixed:
        yield f"fix:      {one.fix}: {_reason(one.fix)}"
        yield f"see it fixed: {fixed}"
    if command := diff_command(one):
        yield f"for upstream: {command}"


def _seen(one: Defect) -> str:
    platform = "" if one.platform == "any" else f", on {one.platform} only"
    return f"vLLM {one.spelled_versions}{platform}"


def _reason(fix: str) -> str:
    return next((patch.reason for patch in PATCHES if patch.id == fix), "")


def _link(thread: str) -> str:
    return thread if not thread.isdigit() else f"{_THREAD}{thread}"
