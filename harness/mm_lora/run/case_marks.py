"""Reads a case's marks: its check, its server, and the questions that it will ask.

A case names its check with `@pytest.mark.check("group/{model}/…", title="…")`; the braces are
filled from its parameters.
`@pytest.mark.server(adapters=…, flags=…)` says what it needs of a server,
`@pytest.mark.full` keeps it out of the core, `@pytest.mark.every_model` keeps it in for each model,
`@pytest.mark.last` puts it behind all others of its server.
"""

import inspect
from collections.abc import Collection, Mapping
from typing import Any

import pytest
from _pytest.compat import NOTSET
from _pytest.mark import ParameterSet

from mm_lora.checks.context import Upcoming
from mm_lora.core import skips
from mm_lora.core.selection import MEASURED
from mm_lora.families.family import Family
from mm_lora.run.options import RunOptions
from mm_lora.run.plan import Planned, Wish, family_flags
from mm_lora.run.profiles import Profile

MARKS = (
    "check(id, title): the id of the check that this case judges",
    "server(adapters, flags, env, patches, probe): what the case needs of a server",
    "full: not part of the core",
    "each(names, of): a parameter whose values a function of the model's family gives",
    "upcoming(asks): what the reference may compute before the server is ready",
    "last: judged after all others of its server",
    "truth(name): a truth of the profile without which the check does not apply",
    "lacking(platform, evidence): cpu, gpu or any; vLLM has not what the check is about there",
    "every_model: in the core for every published model",
)


def planned_of(
    item: pytest.Function,
    options: RunOptions,
    profile: Profile,
    models: Collection[str],
    families: Mapping[str, Family],
) -> Planned:
    """The check that a collected case will judge. Raises ValueError for a case without an id."""
    mark = item.get_closest_marker("check")
    if mark is None:
        raise ValueError(f"{item.nodeid} has no @pytest.mark.check")
    parameters: dict[str, Any] = dict(item.callspec.params) if hasattr(item, "callspec") else {}
    texts = {name: getattr(value, "label", value) for name, value in parameters.items()}
    model = str(parameters.get("model", ""))
    family = families.get(model)
    wish = None
    server = item.get_closest_marker("server")
    if server is not None:
        own = [parameters["own"]] if "own" in parameters else []
        wish = Wish(
            model=model,
            adapters=(*_of(family, server.kwargs.get("adapters", ())), *own),
            flags=tuple(sorted(_of(family, server.kwargs.get("flags", {})).items())),
            env=tuple(sorted(server.kwargs.get("env", {}).items())),
            patches=tuple(server.kwargs.get("patches", ("auto",))),
            probe=bool(server.kwargs.get("probe", False)),
            defaults=family_flags(family) if family else (),
        )
    check_id = mark.args[0].format(**texts)
    skip = inapplicable(item, wish, options, profile)
    wanted = (
        not model
        or model in models
        or item.get_closest_marker("every_model") is not None
        or measures_every_model(check_id, options, profile)
    )
    asked_for = options.full or asks_for(options, check_id)
    return Planned(
        id=check_id,
        title=mark.kwargs["title"].format(**texts),
        core=wanted and (asked_for or item.get_closest_marker("full") is None),
        wish=None if skip else wish,
        skip=skip,
        last=item.get_closest_marker("last") is not None,
    )


def is_stand_in(item: pytest.Function) -> bool:
    """Whether pytest made it for a case without parameters: no adapter of the user's, no group of
    the kind in any family."""
    return hasattr(item, "callspec") and NOTSET in item.callspec.params.values()


def _of(family: Family | None, said: Any) -> Any:
    """What a mark says: a value, or a function of the model's family that gives it."""
    return said(family) if callable(said) else said


def joined_parameters(
    function: pytest.Function | Any, models: Mapping[str, Family]
) -> tuple[list[str], list[Any]] | None:
    """Names and values of `model` with what `@pytest.mark.each(names, of)` says for its family.

    `of`: family → values, or pytest.param with marks. None where the case has no such mark.
    """
    marks = list(function.iter_markers("each"))
    if not marks:
        return None
    names = ["model"]
    rows: list[tuple[tuple[Any, ...], list[Any], Family]] = [
        ((model,), [], family) for model, family in models.items()
    ]
    for mark in reversed(marks):
        wanted, of = mark.args
        names += [wanted] if isinstance(wanted, str) else list(wanted)
        rows = [
            ((*values, *more), [*marked, *further], family)
            for values, marked, family in rows
            for more, further in (_values(one, isinstance(wanted, str)) for one in of(family))
        ]
    return names, [pytest.param(*values, marks=marked) for values, marked, _ in rows]


def _values(one: Any, single: bool) -> tuple[tuple[Any, ...], list[Any]]:
    if isinstance(one, ParameterSet):
        marks = one.marks if isinstance(one.marks, Collection) else [one.marks]
        return tuple(one.values), list(marks)
    return ((one,) if single else tuple(one)), []


def measures_every_model(check_id: str, options: RunOptions, profile: Profile) -> bool:
    """Whether `--full` without `--model` runs the check on each published miniature.

    Tower and connector differ from geometry to geometry, so what measures them does; how requests
    and adapters are managed does not. Real weights are one model's.
    """
    measured = check_id.partition("/")[0] in MEASURED
    return options.full and not options.model and "reference" in profile.truths and measured


def inapplicable(
    item: pytest.Function, wish: Wish | None, options: RunOptions, profile: Profile
) -> str:
    """Why a check cannot be judged with this profile, empty where it can."""
    truths = [mark.args[0] for mark in item.iter_markers("truth")]
    if wish is not None and wish.probe:
        truths.append("rows")
    for mark in item.iter_markers("lacking"):
        if mark.args[0] in (profile.platform, "any"):
            return skips.text(skips.SkipReason.NO_PART, mark.args[1])
    if options.base_url and wish is not None and (wish.flags or wish.env):
        return skips.text(skips.SkipReason.OWN_SERVER)
    missing = [truth for truth in truths if truth not in profile.truths]
    return skips.text(skips.OF_TRUTH[missing[0]]) if missing else ""


def asks_for(options: RunOptions, check_id: str) -> bool:
    """Whether a setting asks for a check that is not in the core: `--set soak=5` for the soak."""
    settings = options.settings
    return check_id.startswith("soak/") and (settings.soak or settings.replay) is not None


def upcoming(item: pytest.Item, families: Mapping[str, Family]) -> list[Upcoming]:
    """What the case says it will ask: `@pytest.mark.upcoming(asks=function of its parameters)`."""
    mark = item.get_closest_marker("upcoming")
    if mark is None or not isinstance(item, pytest.Function):
        return []
    parameters = dict(item.callspec.params)
    parameters["family"] = families[str(parameters["model"])]
    asks = mark.kwargs["asks"]
    return list(asks(**{key: parameters[key] for key in inspect.signature(asks).parameters}))
