"""Module groups as data: which modules an adapter can target together, and what their rows are."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

TOWER, CONNECTOR, LANGUAGE = "tower", "connector", "language"
ROLES = (TOWER, CONNECTOR, LANGUAGE)
"""The kinds of wrapper that vLLM maps rows for; every module group plays one of these roles."""

PROMPT = "prompt"
"""Rows of the language model: one for each token scheduled."""


@dataclass(frozen=True, kw_only=True)
class ModuleGroup:
    """A named set of modules that an adapter can target together.

    `pattern`: a regular expression over whole PEFT module paths (`re.fullmatch`, as PEFT itself
    uses a `target_modules` string). `role`: the kind of vLLM's wrapper. `rows`: which of a flow's
    rows the modules see, a key of `Flow.rows` or PROMPT. `target`: the whole group as one glob, to
    mix it with parts of others. `projections`: adapter name → glob of the modules of one
    projection; empty where the group is a single one. `unwrapped`: vLLM's reason to leave the group
    out with the family's own flags, empty where it is wrapped.
    """

    name: str
    pattern: str
    role: str
    rows: str
    target: str = ""
    projections: Mapping[str, str] = field(default_factory=dict)
    unwrapped: str = ""

    def has(self, path: str) -> bool:
        """Whether the module at `path` belongs to this group."""
        return re.fullmatch(self.pattern, path) is not None


def by_name(*groups: ModuleGroup) -> dict[str, ModuleGroup]:
    """The groups by their names, in their order."""
    return {group.name: group for group in groups}


def either(patterns: list[str]) -> str:
    """One regular expression for all of them, for PEFT's `target_modules`."""
    return patterns[0] if len(patterns) == 1 else "|".join(f"({pattern})" for pattern in patterns)


def from_glob(glob: str) -> str:
    """A glob (`*` crosses dots, `?`, `[abc]`) as a regular expression.

    `fnmatch.translate` writes another one in each Python.
    """
    parts = re.split(r"(\*|\?|\[[^]]+\])", glob)
    known = {"*": ".*", "?": "."}
    return "".join(
        known.get(part, part if part.startswith("[") else re.escape(part)) for part in parts if part
    )
