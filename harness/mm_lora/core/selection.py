"""Check ids, `group/model/subject/variant`, and the globs that select them (`*` crosses `/`)."""

import difflib
from collections.abc import Iterable, Sequence
from fnmatch import fnmatchcase

from mm_lora.core.errors import UsageError

MEASURED = ("dice", "arithmetic", "coverage", "numerics", "relations")
"""The groups that measure a geometry; the others are about requests and adapters."""

GROUPS = (
    *MEASURED,
    "spellings",
    "isolation",
    "states",
    "lifecycle",
    "refusal",
    "parallel",
    "soak",
)


def matches(pattern: str, check_id: str) -> bool:
    """Whether the glob `pattern` names `check_id`; case counts, and `*` crosses `/`."""
    return fnmatchcase(check_id, pattern)


def names_models(patterns: Iterable[str], models: Iterable[str]) -> list[str]:
    """The models that a pattern names letter by letter, as the second part of an id."""
    known = set(models)
    parts = (pattern.split("/")[1:2] for pattern in patterns)
    return [name for part in parts for name in part if name in known]


def require_matches(
    patterns: Iterable[str],
    ids: Sequence[str],
    option: str,
    what: str = "check",
    all_of_them: str = "`mm-lora list`",
) -> None:
    """Raise UsageError for a pattern that names no id: a typo must not select nothing."""
    for pattern in patterns:
        if any(matches(pattern, check_id) for check_id in ids):
            continue
        near = difflib.get_close_matches(pattern, ids, n=3, cutoff=0.5)
        hint = f"near: {', '.join(near)}" if near else f"{all_of_them} shows every id"
        raise UsageError(f"{option} '{pattern}' matches no {what}", hint)


def select(
    ids: Sequence[str], core: Iterable[str], only: Sequence[str], skip: Sequence[str]
) -> list[str]:
    """The ids to run, in their order: those of `only` out of all, or else the core; less `skip`.

    Raises UsageError when a pattern of `only` or `skip` matches no id at all.
    """
    require_matches(only, ids, "--only")
    require_matches(skip, ids, "--skip")
    core_ids = set(core)
    wanted = (
        (i for i in ids if any(matches(p, i) for p in only))
        if only
        else (i for i in ids if i in core_ids)
    )
    return [i for i in wanted if not any(matches(p, i) for p in skip)]
