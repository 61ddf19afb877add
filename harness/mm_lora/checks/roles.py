"""A family's adapters by role, so that cases need no names."""

from collections.abc import Callable

from mm_lora.adapters.sets import ALL, known, others_name, standard
from mm_lora.core.asking import BASE
from mm_lora.families.family import Family
from mm_lora.families.modules import CONNECTOR, LANGUAGE, ROLES, TOWER, ModuleGroup

Names = tuple[str, ...]
Role = Callable[[Family], Names]
"""Names of adapters of a family; what a case's marks take."""


def _names(groups: tuple[ModuleGroup, ...]) -> Names:
    return tuple(group.name for group in groups)


def towers(family: Family) -> Names:
    """One adapter for each wrapped group of the tower."""
    return _names(family.roled(TOWER))


def connectors(family: Family) -> Names:
    """One adapter for each wrapped group of the connector; where it takes none, the tower's last
    group stands in."""
    return _names(family.roled(CONNECTOR)) or towers(family)[-1:]


def roles(family: Family) -> Names:
    """The roles that take an adapter."""
    return tuple(role for role in ROLES if family.roled(role))


def vision(family: Family) -> Names:
    """One adapter for each wrapped group that text alone never reaches."""
    return _names(family.vision)


def language(family: Family) -> Names:
    """The language model's groups, and `all`."""
    return (*_names(family.roled(LANGUAGE)), ALL)


def groups(family: Family) -> Names:
    """One adapter for each wrapped group, and `all`."""
    return (*vision(family), *language(family))


def everyone(family: Family) -> Names:
    """Every standard adapter that the family's flags can serve, bundles too."""
    return tuple(
        name for name, spec in standard(family).items() if not _is_unwrapped(family, spec.groups)
    )


def tenants(family: Family) -> Names:
    """The base and everyone."""
    return (BASE, *everyone(family))


def unwrapped(family: Family) -> Names:
    """The groups that only a server with every module name wraps."""
    return _names(tuple(g for g in family.groups.values() if g.unwrapped and _is_linear(family, g)))


def unwrappable(family: Family) -> Names:
    """The groups for which vLLM has no LoRA layer, whatever the flags."""
    out = tuple(group for group in family.groups.values() if group.unwrapped)
    return _names(tuple(group for group in out if not _is_linear(family, group)))


def projections(family: Family) -> Names:
    """One adapter per projection; a group of a single one is its own."""
    return tuple(
        name for group in family.wrapped for name in (tuple(group.projections) or (group.name,))
    )


def subjects(family: Family) -> Names:
    """Everyone whose numbers are compared: projections, then everyone else."""
    return tuple(dict.fromkeys((*projections(family), *everyone(family))))


def first_tower(family: Family) -> Names:
    """The tower's first group."""
    return towers(family)[:1]


def first_connector(family: Family) -> Names:
    """The connector's first group."""
    return connectors(family)[:1]


def last_connector(family: Family) -> Names:
    """The connector's last group."""
    return connectors(family)[-1:]


def one_each(family: Family) -> Names:
    """A group of the tower, the first and last of the connector, one of the language model."""
    last = _names(family.roled(LANGUAGE))[:1]
    return (*first_tower(family), *first_connector(family), *last_connector(family), *last)


def of_each_role(family: Family) -> Names:
    """An adapter of the tower, of the connector and of the language model; the last one changes
    what the KV cache holds."""
    return tuple(dict.fromkeys((towers(family)[-1], *last_connector(family), "language-v_proj")))


def pair(family: Family, role: str) -> tuple[str, str]:
    """Two adapters of one role that answer differently: the groups' or projections'."""
    if role == LANGUAGE:
        return "language-v_proj", "language-o_proj"
    mine = family.roled(role) or family.roled(TOWER)[-1:]
    if role == TOWER and len(mine) > 1:
        return mine[0].name, mine[1].name
    first = next(iter(mine[0].projections), mine[0].name)
    last = mine[-1].name
    if last != first:
        return first, last
    # A role of a single layer: the same one with other numbers.
    return first, others_name(first)


def acts_on_text(family: Family, name: str) -> bool:
    """Whether a standard adapter or projection moves an answer about text alone."""
    return name in known(family) and known(family)[name].reaches_language


def predictable(family: Family, name: str) -> bool:
    """Whether a standard adapter or projection can meet a mistake that a predictor computes."""
    spec = known(family).get(name)
    return spec is not None and (
        not spec.roles or not {*spec.roles}.isdisjoint(family.predicted_roles)
    )


def _is_unwrapped(family: Family, names: Names) -> bool:
    return any(family.groups[name].unwrapped for name in names)


def _is_linear(family: Family, group: ModuleGroup) -> bool:
    """Whether some flag makes vLLM wrap the group: the family says which module names it needs."""
    last = group.target.rpartition(".")[2]
    return family.packed.get(last, last) in family.every_target_module
