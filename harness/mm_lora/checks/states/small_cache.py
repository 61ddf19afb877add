"""A server whose KV cache holds little more than one request, and what that does to requests."""

from collections.abc import Sequence

from mm_lora.checks.running import Served
from mm_lora.core.asking import Answer, Request
from mm_lora.serving.probe_records import Step
from mm_lora.serving.server.spec import PlainValue

BLOCK = 32
BLOCKS = 81
"""Those that requests can have: as many as the longest needs, and one, since vLLM keeps one."""

FLAGS: dict[str, PlainValue] = {
    "max-model-len": BLOCK * (BLOCKS - 1),
    "block-size": BLOCK,
    "num-gpu-blocks-override": BLOCKS + 1,
    # Layers with windows have blocks of their own otherwise, and each family another number.
    "disable-hybrid-kv-cache-manager": True,
}


def too_many(served: Served, tenants: Sequence[str], max_tokens: int) -> list[Request]:
    """Every tenant in turn about new pictures, until their prompts fill the cache."""
    requests: list[Request] = []
    tokens, seed = 0, 0
    while tokens < BLOCK * BLOCKS:
        picture = served.family.sizes.picture("one", 80 + seed)
        model = tenants[seed % len(tenants)]
        requests.append(Request(model=model, pictures=(picture,), max_tokens=max_tokens, top=5))
        tokens += served.image_prompt_tokens(requests[-1]) + BLOCK
        seed += 1
    return requests


def span(without: Sequence[int], within: Sequence[int], added: int) -> tuple[int, int]:
    """Where a picture lies in a prompt, [first, end) in tokens: `within` is the prompt that has it,
    `without` the same question alone, `added` how many tokens the picture adds."""
    pairs = zip(without, within, strict=False)
    first = next((at for at, (one, other) in enumerate(pairs) if one != other), len(without))
    return first, first + added


def cached(steps: Sequence[Step], answer: Answer) -> int:
    """The tokens of a request's prompt that were not read, since a cache had them."""
    read = sum(
        request.tokens
        for step in steps
        if step.worker == steps[0].worker and step.kind == "language"
        for request in step.requests
        if request.is_for(answer.id)
    )
    return answer.prompt_tokens + answer.completion_tokens - 1 - read
