"""What an expression of a constructor can be, as far as the scan follows it."""

import ast
from dataclasses import dataclass, field
from typing import Any

from mm_lora.serving.scan.sources import Class, External, FunctionNode, Module


@dataclass(frozen=True)
class Constant:
    """A number, a text, None."""

    value: Any


@dataclass(frozen=True, eq=False)
class Type:
    """A class, not yet called."""

    cls: Class | External


@dataclass(frozen=True, eq=False)
class Call:
    """A function, method, lambda or partial with what it was given so far."""

    module: Module
    node: FunctionNode | ast.Lambda
    env: "Env" = field(default_factory=dict)
    this: "Object | None" = None
    owner: Class | None = None


@dataclass(frozen=True, eq=False)
class Partial:
    """`functools.partial(of, …)`."""

    of: "Values"
    given: "Given"


@dataclass(eq=False)
class Object:
    """An instance by its class, and where it is made; `attributes` once they are asked for."""

    cls: Class | External
    module: Module
    node: ast.expr
    given: "Given"
    attributes: "dict[str, Values] | None" = None


@dataclass(eq=False)
class Items:
    """A list, tuple, ModuleList or Sequential: (index or `*`, what can be there)."""

    items: "list[tuple[str, Values]]"

    def all(self) -> "Values":
        """What any of the items can be."""
        return [value for _, values in self.items for value in values]


@dataclass(eq=False)
class Mapping:
    """A dictionary or ModuleDict with constant keys; `*` for any other."""

    items: "dict[str, Values]"


@dataclass(frozen=True, eq=False)
class Opaque:
    """What cannot be followed: `what` it is, and where."""

    what: str
    module: Module
    node: ast.expr


Value = Constant | Type | Call | Partial | Object | Items | Mapping | Opaque
Values = list[Value]
"""What an expression can be: one value for each way through the code; empty: of no interest."""
Env = dict[str, Values]


@dataclass(frozen=True)
class Given:
    """Arguments of a call."""

    args: tuple[Values, ...] = ()
    named: Env = field(default_factory=dict)

    def plus(self, later: "Given") -> "Given":
        """Those of a partial, with those of its call."""
        return Given(self.args + later.args, {**self.named, **later.named})


def strings(values: Values) -> list[str]:
    """The texts among values, those in lists too."""
    found: list[str] = []
    for value in values:
        if isinstance(value, Constant) and isinstance(value.value, str):
            found.append(value.value)
        elif isinstance(value, Items):
            found += strings(value.all())
    return found


def unpacked(values: Values, at: int, size: int) -> Values:
    """What the target at a place of `size` targets gets."""
    lists = [value.items for value in values if isinstance(value, Items)]
    return [one for items in lists if len(items) == size for one in items[at][1]]
