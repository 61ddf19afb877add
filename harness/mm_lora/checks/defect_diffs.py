"""The fix of a known defect as a change of vLLM's source, for a pull request: fixtures/diffs.

A file is called as the fix, which several defects may share. Prose comes first, as a commit's
message has it: what is wrong, how it shows, the cause.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from mm_lora.checks.defects import Defect
from mm_lora.core import typed
from mm_lora.core.resources import fixtures_dir

RELEASE = "0.32.0"
"""Whose source the diffs change. A fix for older versions alone has none: it is mended there."""


@dataclass(frozen=True)
class _Without:
    reasons: Mapping[str, str]


def folder() -> Path:
    """Where the diffs are."""
    return fixtures_dir() / "diffs"


def read(fix: str) -> str | None:
    """The diff of that fix, prose and all; None where there is none."""
    file = folder() / f"{fix}.diff"
    return file.read_text(encoding="utf-8") if fix and file.is_file() else None


@cache
def left_out() -> Mapping[str, str]:
    """Fix → why its change of the source is not written."""
    file = folder() / "none.toml"
    return typed.read_toml(file, _Without, "that it has a table [reasons]").reasons


def why_none(one: Defect) -> str:
    """Why a defect has no diff: its fix's own reason, or that of its versions."""
    if not one.fix:
        return "no fix of it is known"
    of_older = f"vLLM {RELEASE}, whose source the diffs change, does not have it"
    return left_out().get(one.fix, of_older)
