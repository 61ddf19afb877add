"""What the probe records, typed: workers, wrapped layers, steps, calls, used adapter tensors.

The fields are the keys of its files (`inside/probe_layers.py`, `inside/probe_records.py`), but for
`worker` and `name`, which are the file's name, and for a step, which is made of a `StepLine`.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from mm_lora.core.outcomes import Runs


@dataclass(frozen=True)
class Module:
    """A LoRA-wrapped layer. `held`: the kind of the punica wrapper that it holds; `by_prefix`: the
    kind that the longest prefix gives. `parts`: the adapter's module paths that it serves."""

    path: str
    wrapper_class: str
    base_class: str
    held: str | None
    by_prefix: str | None
    parts: tuple[str, ...]
    slices: int | None


@dataclass(frozen=True)
class Unwrapped:
    """A linear layer that takes no adapter, and why."""

    path: str
    base_class: str
    reason: str


@dataclass(frozen=True)
class Worker:
    """One vLLM worker process: its static list. `slots`: adapters that fit in at once. `compiled`:
    the language model is, and the rows in its layers cannot be seen. `sorts_media`: a step's media
    are encoded kind by kind, else in stretches of one kind."""

    name: str
    rank: int
    slots: int
    compiled: bool
    prefixes: Mapping[str, tuple[str, ...]]
    modules: tuple[Module, ...]
    unwrapped: tuple[Unwrapped, ...]
    missing: tuple[str, ...]
    sorts_media: bool = True


@dataclass(frozen=True)
class Request:
    """A request in a step: its adapter (None: the base), prompt or output tokens scheduled, and
    the indices of its pictures whose encoding was scheduled."""

    id: str
    adapter: str | None
    tokens: int
    images: tuple[int, ...]

    def is_for(self, request_id: str) -> bool:
        """Whether this is the request with that `X-Request-Id`, or with that id of its response.

        vLLM puts a prefix before the header's value and, in newer versions, a random end after it.
        """
        return any(
            name == request_id or name.startswith(f"{request_id}-")
            for name in (self.id, self.id.partition("-")[2])
        )


@dataclass(frozen=True)
class Mapped:
    """What vLLM had set in a punica wrapper: `rows`, and which adapter each of them got."""

    wrapper: str
    rows: int
    runs: Runs


@dataclass(frozen=True)
class Call:
    """Layers (`paths`) that saw the same number of rows under the same mapping."""

    rows: int
    mapped: Mapped | None
    paths: tuple[str, ...]


@dataclass(frozen=True)
class Step:
    """One pass: kind "encoder" (tower and connector) or "language". `raised`: how it died."""

    worker: str
    seq: int
    number: int
    kind: str
    requests: tuple[Request, ...]
    calls: tuple[Call, ...]
    raised: str | None = None


@dataclass(frozen=True)
class StepLine:
    """A step as it is on disk. `calls`: (rows, key of `mapped` or None, [first, last] indices of
    the worker's modules)."""

    seq: int
    step: int
    kind: str
    requests: tuple[Request, ...]
    calls: tuple[tuple[int, str | None, tuple[tuple[int, int], ...]], ...]
    mapped: Mapping[str, Mapped]
    raised: str | None = None

    def of(self, worker: Worker) -> Step:
        """The step, with its layers by name."""
        return Step(
            worker=worker.name,
            seq=self.seq,
            number=self.step,
            kind=self.kind,
            requests=self.requests,
            calls=tuple(
                Call(rows, self.mapped.get(key or ""), tuple(_paths(worker, stretches)))
                for rows, key, stretches in self.calls
            ),
            raised=self.raised,
        )


def _paths(worker: Worker, stretches: Iterable[tuple[int, int]]) -> Iterator[str]:
    for first, last in stretches:
        for module in worker.modules[first : last + 1]:
            yield module.path


@dataclass(frozen=True)
class AdapterUse:
    """An adapter's activation. `kept`: adapter module path → tensors that vLLM read of it.
    `used`: wrapped layer → adapter module path that filled each of its slices, None for none.
    `held`: wrapped layer → sums of squares of A and B in each of its slices, on this worker."""

    worker: str
    seq: int
    adapter: str
    slot: int | None
    kept: Mapping[str, tuple[str, ...]]
    used: Mapping[str, tuple[str | None, ...]]
    held: Mapping[str, tuple[tuple[float, float], ...]] = field(default_factory=dict)


@dataclass(frozen=True)
class Observed:
    """What was read: `lost` lines were dropped by the worker, `torn` ones could not be read."""

    steps: tuple[Step, ...]
    lost: int = 0
    torn: int = 0
