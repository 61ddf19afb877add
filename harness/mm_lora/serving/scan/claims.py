"""What a model class says of its tower and connector: hook, flag, prefixes, packed projections."""

import ast
from collections.abc import Mapping
from dataclasses import dataclass

from mm_lora.families.modules import CONNECTOR, TOWER
from mm_lora.serving.hooked_classes import FLAG, MAPPING
from mm_lora.serving.scan.bodies import Bodies
from mm_lora.serving.scan.sources import INTERFACES, Class
from mm_lora.serving.scan.values import Constant, Given, Items, Object, Opaque, Values, strings
from mm_lora.serving.scan.values import Mapping as Dictionary
from mm_lora.serving.server.source import COUNTS, PAIR

_ROLES = {"language_model": "language", "connector": "connector", "tower_model": "tower"}
_PACKED = "packed_modules_mapping"


@dataclass(frozen=True, kw_only=True)
class Claims:
    """`line`: where the class is. `counts`: it defines the count hook of this vLLM; `connector`:
    the hook can count a connector's rows. `flag`: its capability flag. `lora`: it takes adapters.

    `prefixes`: role → prefixes, None without `get_mm_mapping`.
    """

    cls: Class
    counts: bool
    connector: bool
    flag: bool
    lora: bool
    prefixes: Mapping[str, tuple[str, ...]] | None
    mapping_line: int

    @property
    def vision(self) -> tuple[str, ...]:
        """The prefixes of tower and connector."""
        known = self.prefixes or {}
        return (*known.get(TOWER, ()), *known.get(CONNECTOR, ()))

    @property
    def unread(self) -> bool:
        """Whether `get_mm_mapping` is there, and what it says is made at run time."""
        return self.prefixes is not None and not any(self.prefixes.values())

    def role(self, path: str) -> str | None:
        """The role of a module: the longest prefix that fits, as vLLM picks its wrapper."""
        every = ((p, role) for role, some in (self.prefixes or {}).items() for p in some)
        counted = ((p, role) for p, role in every if role != CONNECTOR or self.connector)
        fitting = [(len(p), role) for p, role in counted if path.startswith(p)]
        return max(fitting)[1] if fitting else None


@dataclass(frozen=True, kw_only=True)
class Generation:
    """How a vLLM asks for rows. `hooks`: the methods that count them, of which a class needs one;
    `flagged`: a class must claim the feature by its flag too, and is left alone without."""

    hooks: tuple[str, ...]
    flagged: bool


def generation(manager: str) -> Generation | None:
    """That of a vLLM, by the text of its LoRA manager; None where it has no such feature.

    Some versions between the pair of hooks (0.17) and the one with the flag (0.30) take either.
    """
    flagged = f"model.{FLAG}" in manager
    one, pair = COUNTS in manager, PAIR[0] in manager
    hooks = [name for name, asked in ((COUNTS, one), (PAIR[0], pair and not flagged)) if asked]
    return Generation(hooks=tuple(hooks), flagged=flagged) if hooks else None


def claims(bodies: Bodies, cls: Class, how: Generation | None) -> Claims:
    """Those of a class; `how`: None for a vLLM without the feature."""
    model = Object(cls, cls.module, ast.Name(cls.name), Given())
    lineage = bodies.sources.models(cls)
    defined = {name for one in lineage for name in (COUNTS, *PAIR, MAPPING) if one.method(name)}
    home = next((one for one in lineage if one.method(MAPPING)), None)
    flags = [one.value for one in bodies.constant(cls, FLAG) if isinstance(one, Constant)]
    method = home.method(MAPPING) if home else None
    return Claims(
        cls=cls,
        counts=bool(how and defined & {*how.hooks}),
        connector=_counts_connector(lineage) if COUNTS in defined else PAIR[1] in defined,
        flag=bool(flags and flags[0]) or not (how and how.flagged),
        lora=f"{INTERFACES}.SupportsLoRA" in bodies.sources.ancestry(cls),
        prefixes=_prefixes(bodies, model) if home else None,
        mapping_line=method.lineno if method else cls.node.lineno,
    )


def _counts_connector(lineage: list[Class]) -> bool:
    """Whether the hook returns anything but None for the connector."""
    node = next((found for one in lineage if (found := one.method(COUNTS))), None)
    pairs = [
        stmt.value.elts[1]
        for stmt in (ast.walk(node) if node else ())
        if isinstance(stmt, ast.Return)
        and isinstance(stmt.value, ast.Tuple)
        and len(stmt.value.elts) == 2
    ]
    return not pairs or any(
        not (isinstance(one, ast.Constant) and one.value is None) for one in pairs
    )


def _prefixes(bodies: Bodies, model: Object) -> dict[str, tuple[str, ...]]:
    """Role → prefixes, of every way through `get_mm_mapping`."""
    frame = bodies.invoke(model, MAPPING)
    found: dict[str, tuple[str, ...]] = {}
    for value in frame.returns if frame else ():
        if isinstance(value, Object):
            for name, role in _ROLES.items():
                texts = strings(value.given.named.get(name, []))
                found[role] = (*found.get(role, ()), *texts)
    return {role: tuple(dict.fromkeys(texts)) for role, texts in found.items()}


def packed(bodies: Bodies, model: Object) -> tuple[dict[str, tuple[str, ...]], bool]:
    """Fused layer → what it packs, and whether the language model's part of it is not known.

    vLLM's rule: the model's own mapping, else those of its direct children together.
    """
    own = _own_packed(bodies, model)
    if own:
        return own, False
    merged: dict[str, tuple[str, ...]] = {}
    open_ = False
    for values in list(bodies.attributes(model).values()):
        for value in values:
            if isinstance(value, Object) and isinstance(value.cls, Class):
                merged.update(_own_packed(bodies, value))
            open_ = open_ or isinstance(value, Opaque)
    return merged, open_


def _own_packed(bodies: Bodies, model: Object) -> dict[str, tuple[str, ...]]:
    held: Values = bodies.attributes(model).get(_PACKED, [])
    found: dict[str, tuple[str, ...]] = {}
    own = bodies.constant(model.cls, _PACKED) if isinstance(model.cls, Class) else []
    for value in (*own, *held):
        if isinstance(value, Dictionary):
            for name, inner in value.items.items():
                found[name] = tuple(
                    text for one in inner if isinstance(one, Items) for text in strings(one.all())
                )
    return found
