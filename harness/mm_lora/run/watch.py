"""One pass over a running server: what it lists, its noise, its adapters; nothing is changed."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Protocol

from mm_lora.checks.judging import Judge
from mm_lora.checks.watching.adapters import Adapters, Scale
from mm_lora.checks.watching.findings import Finding, Pass
from mm_lora.checks.watching.noise import Base, measured
from mm_lora.checks.watching.visitor import Asks, Visitor
from mm_lora.core.errors import TroubleError
from mm_lora.core.selection import matches, require_matches
from mm_lora.run import profiles, tolerances

PROFILE = "remote"
"""Its tolerances: the server's dtype is not known."""


class Listing(Protocol):
    """A server that tells what it serves: `serving.server.remote.RemoteServer`."""

    base_url: str
    base: str
    adapters: tuple[str, ...]
    version: str | None

    def connect(self) -> None:
        """Ask it. Raises TroubleError."""
        ...


@dataclass(frozen=True, kw_only=True)
class Order:
    """What a pass is to do. `only`: globs of adapters' names; `expected`: names that must be
    listed; of adapters whose files are known, `on_text`: whether they change the language model,
    and `files`: what inspect says. `notes`: for people."""

    limit_s: float = 300.0
    only: Sequence[str] = ()
    expected: Sequence[str] = ()
    on_text: Mapping[str, bool] = field(default_factory=dict)
    files: Sequence[Finding] = ()
    notes: Sequence[str] = ()


def watch(
    server: Listing,
    client: Asks,
    order: Order,
    clock: Callable[[], float] = time.monotonic,
) -> Pass:
    """The pass, also where the server ends it before its time.

    Raises UsageError for a glob or an expected adapter that the server does not list.
    """
    began, started = clock(), f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}"
    visitor = Visitor(client, order.limit_s, clock)
    names: list[str] = []
    base: Base | None = None
    allowed: tolerances.Allowed | None = None
    adapters: Adapters | None = None
    trouble, notes = "", list(order.notes)
    try:
        server.connect()
        names = _wanted(server.adapters, order)
        if names:
            base = measured(visitor, server.base)
            profile = profiles.load(PROFILE)
            allowed = tolerances.of_noise(profile, base.noise, base.largest)
            if allowed.note:
                notes.append(allowed.note)
            if base.refusal:
                notes.append(f"asked with text alone: the server takes no picture ({base.refusal})")
            adapters = Adapters(visitor, base, _scale(allowed, base), order.on_text)
            adapters.judge(names)
    except TroubleError as error:
        trouble = str(error)
    found = adapters.findings if adapters else []
    return Pass(
        base_url=server.base_url,
        started=started,
        vllm=server.version,
        base=server.base,
        adapters=names,
        pictures=None if base is None else not base.refusal,
        noise=None if base is None else base.noise,
        tolerance=None if allowed is None else allowed.same,
        min_effect=None if allowed is None else allowed.min_effect,
        findings=[*(one for one in order.files if one.adapter in names), *found],
        requests=visitor.requests,
        duration_s=clock() - began,
        trouble=trouble,
        notes=notes,
    )


def _wanted(listed: Sequence[str], order: Order) -> list[str]:
    what, all_of_them = "adapter of this server", "`mm-lora watch` without it"
    if listed:
        require_matches(order.only, listed, "--only", what, all_of_them)
        require_matches(order.expected, listed, "--adapter", what, all_of_them)
    return [
        name
        for name in listed
        if not order.only or any(matches(pattern, name) for pattern in order.only)
    ]


def _scale(allowed: tolerances.Allowed, base: Base) -> Scale:
    def judge() -> Judge:
        return Judge(tolerance=allowed.tolerance, min_effect=allowed.min_effect, same=allowed.same)

    return Scale(judge=judge, doubt=tolerances.FACTOR * base.noise)
