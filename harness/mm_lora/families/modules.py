"""Module groups as data: which modules an adapter can target together, and what their rows are."""

import re
from collections.abc import Mapping, Sequence
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


def siblings(
    name: str,
    at: str,
    ends: Sequence[str],
    glob: str,
    *,
    role: str = TOWER,
    rows: str = "encoder",
    prefix: str = "",
    drop: str = "",
    within: str = "",
) -> ModuleGroup:
    """A group of the modules `ends` below `at`, where a star stands for the number of a layer.

    `glob`: of all ends, and of nothing else that lies beside them. Adapters of one projection are
    called by `prefix` and an end without `drop` before it; the prefix is the role, of a connector
    the group's name. `within`: `at` as an expression, where it has other spellings.
    """
    within = within or re.escape(at).replace(r"\*", r"\d+")
    prefix = prefix or (name if role == CONNECTOR else role)
    return ModuleGroup(
        name=name,
        pattern=rf"{within}\.({'|'.join(ends)})",
        role=role,
        rows=rows,
        target=f"{at}.{glob}",
        projections={f"{prefix}-{end.removeprefix(drop)}": f"{at}.{end}" for end in ends},
    )


def language_model(at: str, mlp: Sequence[str] = ("gate", "up", "down")) -> ModuleGroup:
    """The group of the usual language model, whose layers the glob `at` names.

    `mlp`: the projections beside those of the attention.
    """
    layer = re.escape(at).replace(r"\*", r"\d+")
    return ModuleGroup(
        name="language-model",
        pattern=rf"{layer}\.(self_attn\.[qkvo]_proj|mlp\.({'|'.join(mlp)})_proj)",
        role=LANGUAGE,
        rows=PROMPT,
        target=f"{at}.*_proj",
        projections={
            **{f"language-{p}_proj": f"{at}.self_attn.{p}_proj" for p in "qkvo"},
            **{f"language-{p}_proj": f"{at}.mlp.{p}_proj" for p in mlp},
        },
    )


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
