"""The plan of a run as pure functions: which checks, in which order, on which servers."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

from mm_lora.core.errors import UsageError
from mm_lora.families.family import Family
from mm_lora.run.options import RunOptions
from mm_lora.run.profiles import Profile
from mm_lora.run.shards import Shard
from mm_lora.serving.server.spec import PlainValue, ServerSpec


@dataclass(frozen=True, kw_only=True)
class Wish:
    """What one check needs of a server. Checks with equal wishes share one, adapters aside.

    `env` is set beside the profile's. `probe`: rows are recorded inside the layers; a check that
    wishes none may get a probed server. `defaults`: flags of the model's family, which a
    profile may set otherwise.
    """

    model: str
    adapters: tuple[str, ...] = ()
    flags: tuple[tuple[str, PlainValue | None], ...] = ()
    env: tuple[tuple[str, str], ...] = ()
    patches: tuple[str, ...] = ("auto",)
    probe: bool = False
    defaults: tuple[tuple[str, PlainValue], ...] = ()

    @property
    def key(self) -> tuple[object, ...]:
        """Equal keys share one server: adapters and probe are united, the rest must be the same."""
        return (self.model, repr(self.flags), self.env, self.patches)


@dataclass(frozen=True, kw_only=True)
class Planned:
    """One check of the plan. `core`: part of `verify` without options. `last`: judged after all
    others of its server, whose traces are its evidence. `deadly`: a known defect is said to end its
    server; judged after even those. `skip`: why it does not apply here; it then needs no server.
    `case`: the id of the check that is judged once more under another id."""

    id: str
    title: str
    core: bool
    wish: Wish | None = None
    last: bool = False
    deadly: bool = False
    skip: str = ""
    case: str = ""


@dataclass(frozen=True)
class Plan:
    """Checks in the order of running, and the server of each (None: needs no server)."""

    checks: tuple[Planned, ...]
    servers: Mapping[str, ServerSpec] = field(default_factory=dict)

    def server_of(self, check_id: str) -> ServerSpec | None:
        """The server spec that a check runs on."""
        return self.servers.get(check_id)

    @cached_property
    def specs(self) -> list[ServerSpec]:
        """Every server once, in the order of first use."""
        return list(dict.fromkeys(self.servers.values()))


def make_plan(checks: Sequence[Planned], profile: Profile, options: RunOptions) -> Plan:
    """Server-less checks first (they run while the first server starts), then server by server.

    The adapters of all checks that share a server are loaded on it together, so a run starts as
    few servers as there are different wishes. Order is otherwise that of `checks`.
    """
    shared: dict[tuple[object, ...], list[Planned]] = {}
    for check in checks:
        if check.wish is not None:
            shared.setdefault(_server_key(check.wish, profile), []).append(check)
    servers: dict[str, ServerSpec] = {}
    for group in shared.values():
        wishes = [check.wish for check in group if check.wish is not None]
        adapters = dict.fromkeys(name for wish in wishes for name in wish.adapters)
        wish = replace(wishes[0], probe=any(wish.probe for wish in wishes))
        spec = server_spec(wish, adapters, profile, options)
        servers |= {check.id: spec for check in group}
    if options.settings.port is not None and len(set(servers.values())) > 1:
        raise UsageError(
            f"--set port works with one server; these checks need {len(set(servers.values()))}",
            "leave the port out, or choose checks of one server with --only (`mm-lora list`)",
        )
    order = {spec: position for position, spec in enumerate(dict.fromkeys(servers.values()), 1)}

    def rank(check: Planned) -> tuple[int, bool, bool]:
        spec = servers.get(check.id)
        return order[spec] if spec else 0, check.deadly, check.last

    ranked = sorted(checks, key=rank)
    return Plan(tuple(ranked), servers)


def part_of(plan: Plan, shard: Shard) -> Plan:
    """The checks of one shard: those of its servers, and in the first one those without."""
    specs = plan.servers
    kept = [
        check
        for check in plan.checks
        if shard.has(specs[check.id].key if check.id in specs else None)
    ]
    ids = {check.id for check in kept}
    return Plan(tuple(kept), {key: spec for key, spec in specs.items() if key in ids})


def _server_key(wish: Wish, profile: Profile) -> tuple[object, ...]:
    """Eager layers answer the same with a probe and without, so that those checks share a server.

    A compiled graph does not: there the probe gets an eager server of its own.
    """
    eager = profile.flags.get("enforce-eager") is True
    return wish.key if eager else (*wish.key, wish.probe)


def server_spec(
    wish: Wish, adapters: Iterable[str], profile: Profile, options: RunOptions
) -> ServerSpec:
    """The profile's flags, then the wish's; one LoRA slot for each adapter and one free."""
    names = tuple(adapters)
    flags: dict[str, PlainValue | None] = {
        "dtype": profile.dtype,
        **dict(wish.defaults),
        **profile.flags,
    }
    flags.setdefault("max-loras", len(names) + 1)
    flags.update(dict(wish.flags))
    if wish.probe:
        flags["enforce-eager"] = True
    patches = list(wish.patches)
    if options.with_fixes:
        patches.append("fixes")
    patches += options.settings.mutant
    return ServerSpec(
        model=wish.model,
        adapters=names,
        flags=tuple((name, spelled(value)) for name, value in flags.items() if value is not False),
        env=tuple(sorted({**profile.env, **dict(wish.env)}.items())),
        patches=tuple(patches),
        start=options.settings.start,
        probe=wish.probe,
    )


def family_flags(family: Family) -> tuple[tuple[str, PlainValue], ...]:
    """What a family's models need on a command line: modules to wrap, media in a request."""
    flags: dict[str, PlainValue] = {"limit-mm-per-prompt": json.dumps(dict(family.limits))}
    if family.target_modules:
        flags["lora-target-modules"] = list(family.target_modules)
    return tuple({**flags, **family.flags}.items())


def max_lora_rank(profile: Profile) -> int:
    """The largest rank that a server of this profile takes; 16 is vLLM's own default."""
    return int(str(profile.flags.get("max-lora-rank", 16)))


def flag_values(profile: Profile, family: Family) -> dict[str, str | tuple[str, ...] | None]:
    """What family and profile alone give each flag of a server."""
    flags = {**dict(family_flags(family)), **profile.flags}
    return {name: spelled(value) for name, value in flags.items() if value is not False}


def spelled(value: PlainValue | None) -> str | tuple[str, ...] | None:
    """A flag's value for a command line: None for a bare flag, a tuple for several words."""
    if value is True or value is None:
        return None
    if isinstance(value, list):
        return tuple(value)
    return str(value)
