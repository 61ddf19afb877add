"""Which requests really met in one step: counted from the probe's record. Pure."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from mm_lora.core.asking import Answer
from mm_lora.core.asking import Request as Asked
from mm_lora.serving.probe_records import Request, Step


@dataclass(frozen=True)
class Batches:
    """Steps of one worker in which several tenants met; the base is a tenant like any adapter.

    `encoder`: steps that encoded pictures of several tenants. `language`: steps of the language
    model with rows of several. `decoding`: those of them in which one tenant decoded while another
    one's prompt was read. `pieces`: requests whose prompt was read in several steps, in the company
    of another tenant. `adapters`: the most adapters in one step.
    `recomputed`: requests with an adapter that were being answered and then read again. `moved`:
    steps in which requests have changed places since the step before. `waited`: requests that were
    begun and then left out of a step, before their prompt was read.
    """

    encoder: int = 0
    language: int = 0
    decoding: int = 0
    pieces: int = 0
    adapters: int = 0
    recomputed: int = 0
    moved: int = 0
    waited: int = 0

    def lacks(self, least: Mapping[str, int]) -> list[str]:
        """What was seen less often than `least` demands, for a reader."""
        return [
            f"{name}: {getattr(self, name)}, at least {count}"
            for name, count in least.items()
            if getattr(self, name) < count
        ]

    def __add__(self, other: "Batches") -> "Batches":
        """Of several bursts: counts added, of `adapters` the largest."""
        return Batches(
            self.encoder + other.encoder,
            self.language + other.language,
            self.decoding + other.decoding,
            self.pieces + other.pieces,
            max(self.adapters, other.adapters),
            self.recomputed + other.recomputed,
            self.moved + other.moved,
            self.waited + other.waited,
        )


def batches(steps: Sequence[Step]) -> Batches:
    """Count one worker's steps: with tensor parallelism every worker records the same ones."""
    mine = [step for step in steps if step.worker == steps[0].worker]
    language = [step for step in mine if step.kind == "language"]
    # One step may have several passes of the encoder; all of them name all its requests.
    encoder = {step.number: step for step in mine if step.kind == "encoder"}
    met = [step for step in language if _tenants(step.requests) > 1]
    read = Counter(
        request.id for step in language for request in step.requests if request.tokens > 1
    )
    in_company = {request.id for step in met for request in step.requests if request.tokens > 1}
    return Batches(
        encoder=sum(_tenants(step.requests) > 1 for step in encoder.values()),
        language=len(met),
        decoding=sum(_decodes_beside(step.requests) for step in met),
        pieces=sum(count > 1 and name in in_company for name, count in read.items()),
        adapters=max(
            (len({request.adapter for request in step.requests} - {None}) for step in language),
            default=0,
        ),
        recomputed=len(recomputed(language)),
        moved=sum(_moved(*pair) for pair in pairwise(language)),
        waited=len(waited(language)),
    )


def recomputed(language: Sequence[Step]) -> set[str]:
    """The requests of one worker that were preempted: several of their tokens were read after at
    least two had been answered. Not the base's, which have no adapter to lose."""
    answered: Counter[str] = Counter()
    found = set()
    for step in language:
        for request in step.requests:
            if request.tokens == 1:
                answered[request.id] += 1
            elif answered[request.id] > 1 and request.adapter is not None:
                found.add(request.id)
    return found


def waited(language: Sequence[Step]) -> set[str]:
    """The requests of one worker that were begun, then left out of a step, then read further."""
    begun, left_out, found = set[str](), set[str](), set[str]()
    for step in language:
        there = {request.id: request.tokens for request in step.requests}
        found |= {name for name in left_out if there.get(name, 0) > 1}
        left_out |= begun - there.keys()
        begun |= {name for name, tokens in there.items() if tokens > 1}
        begun -= {name for name, tokens in there.items() if tokens == 1}
        left_out &= begun
    return found


def _moved(before: Step, after: Step) -> bool:
    """Whether those that are in both steps have changed places."""
    there = [request.id for request in after.requests]
    still = [request.id for request in before.requests if request.id in there]
    return still != [name for name in there if name in still]


def beside_adapters(steps: Sequence[Step]) -> list[Request]:
    """The base's requests that shared a step with an adapter's, as often as they did."""
    return [
        request
        for step in steps
        for request in step.requests
        if request.adapter is None and _tenants(step.requests) > 1
    ]


@dataclass(frozen=True)
class Reuse:
    """What caches spared. `prompts`: requests whose prompt was not wholly read; `pictures` that
    were not encoded."""

    prompts: int
    pictures: int


def reuse(steps: Sequence[Step], answered: Sequence[tuple[Asked, Answer]]) -> Reuse:
    """Rows and pictures that requests needed, less those that one worker's steps had."""
    rows: Counter[str] = Counter()
    encoded = set()
    for step in steps:
        for request in step.requests if step.worker == steps[0].worker else ():
            if step.kind == "language":
                rows[request.id] += request.tokens
            else:
                encoded |= {(request.id, image) for image in request.images}
    names = {name: Request(name, None, 0, ()) for name in rows}
    prompts = 0
    for _, answer in answered:
        due = answer.prompt_tokens + answer.completion_tokens - 1
        done = sum(rows[name] for name, one in names.items() if one.is_for(answer.id))
        prompts += done < due
    return Reuse(prompts, sum(len(request.media) for request, _ in answered) - len(encoded))


def _tenants(requests: Iterable[Request]) -> int:
    return len({request.adapter for request in requests})


def _decodes_beside(requests: Sequence[Request]) -> bool:
    decoding = {request.adapter for request in requests if request.tokens == 1}
    reading = {request.adapter for request in requests if request.tokens > 1}
    return any(one != other for one in decoding for other in reading)
