"""Every case of the suite with the checks that it becomes; nothing is run."""

from dataclasses import dataclass, field
from functools import cached_property

import pytest

from mm_lora.families.family import Family
from mm_lora.run.case_marks import is_stand_in
from mm_lora.run.inputs import Inputs
from mm_lora.run.options import RunOptions
from mm_lora.run.pytest_plugin import PLANNED
from mm_lora.run.runner import arranged


@dataclass(kw_only=True)
class Case:
    """One case. `id` and `title` have braces for what its checks fill in; `core`: how many of its
    `checks` are no part of `--full` alone; `truths`: those of a profile that it needs."""

    id: str
    title: str
    truths: tuple[str, ...]
    every_model: bool
    checks: list[str] = field(default_factory=list)
    core: int = 0

    @property
    def group(self) -> str:
        """The group of its checks."""
        return self.id.partition("/")[0]

    @property
    def when(self) -> str:
        """Which run judges it: core, part of it, or `--full`."""
        if not self.core:
            return "full"
        return "core" if self.core == len(self.checks) else "core in part"


class _Items:
    """A plugin that keeps what pytest collects, in the order of the files."""

    def __init__(self) -> None:
        self.found: list[pytest.Function] = []

    def pytest_itemcollected(self, item: pytest.Item) -> None:
        assert isinstance(item, pytest.Function)
        self.found.append(item)


class _Defaults(Inputs):
    """Of each family its default model alone; checks of its others differ in their names."""

    @cached_property
    def families(self) -> dict[str, Family]:
        return {name: model.family for name, model in self.models.items()}


def cases() -> list[Case]:
    """The cases, with the checks of every family's default model."""
    items = _Items()
    arranged(_Defaults.read(RunOptions(model=("all-families",), full=True)), items)
    found: dict[tuple[str, str], Case] = {}
    for item in items.found:
        mark = item.get_closest_marker("check")
        assert mark is not None, item.nodeid
        case = Case(
            id=mark.args[0],
            title=mark.kwargs["title"],
            truths=_truths(item),
            every_model=item.get_closest_marker("every_model") is not None,
        )
        case = found.setdefault((case.id, case.title), case)
        # pytest makes a stand-in for a case of the user's own adapters, where there are none.
        case.checks.append(case.id if is_stand_in(item) else item.stash[PLANNED].id)
        case.core += item.get_closest_marker("full") is None
    return list(found.values())


def _truths(item: pytest.Function) -> tuple[str, ...]:
    named = {str(mark.args[0]) for mark in item.iter_markers("truth")}
    if any(mark.kwargs.get("probe") for mark in item.iter_markers("server")):
        named.add("rows")
    return tuple(sorted(named))
