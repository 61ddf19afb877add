"""A server whose KV cache holds little more than one request, and what that does to requests."""

from collections.abc import Sequence
from dataclasses import replace

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


def outgrowing(prompt: int, least: int) -> int:
    """Tokens of an answer, `least` or more, with which the prompts of so many tokens that fit into
    the cache together outgrow it."""
    fit = max(1, BLOCKS // -(-prompt // BLOCK))
    blocks = BLOCKS // fit + 1
    return max(least, blocks * BLOCK - BLOCK // 2 - prompt)


def too_many(served: Served, tenants: Sequence[str], least: int) -> list[Request]:
    """Every tenant in turn about new pictures, until their prompts fill the cache; answers of
    `least` tokens or more, with which those that it holds outgrow it."""
    requests: list[Request] = []
    tokens, seed, length = 0, 0, 1
    while tokens < BLOCK * BLOCKS:
        picture = served.family.sizes.picture("one", 80 + seed)
        model = tenants[seed % len(tenants)]
        request = Request(model=model, pictures=(picture,), max_tokens=length, top=5)
        if not requests:
            prompt = served.ask(request.asking(served.base)).prompt_tokens
            length = outgrowing(prompt, least)
            request = replace(request, max_tokens=length)
        requests.append(request)
        tokens += served.image_prompt_tokens(request) + BLOCK
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
