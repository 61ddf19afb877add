"""A predictor: what a CPU computes that takes a token's heads for tokens when it turns them.

vLLM hands the CPU's operator queries and keys of [tokens, heads, size]. It reads the last dimension
as all heads of a token: of a step with n tokens it turns the first n rows of all heads, the i-th by
the position of the i-th token. So what is computed depends on how a prompt is cut.
"""

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from importlib import import_module
from typing import Any

BLOCK = 128
"""Tokens of a block of vLLM's cache on a CPU: the state of the convolutions is kept at the last
whole block before a prompt's last token, where its prefill is cut."""


def steps(prompt: int, length: int) -> list[tuple[int, int]]:
    """First and last (excluded) token of each step that reads `prompt` tokens, then writes up to
    `length`."""
    cut = (prompt - 1) // BLOCK * BLOCK
    ends = [*([cut] if cut else []), *range(prompt, length + 1)]
    return list(zip([0, *ends[:-1]], ends, strict=True))


def first_rows_turned(
    heads: Any, cos: Any, sin: Any, turn: Any, cuts: Sequence[tuple[int, int]]
) -> Any:
    """`heads` [1, heads, tokens, size], turned as such a CPU does; `turn` gives each row's other
    half, `cos` and `sin` are [1, tokens, size]."""
    made = heads.transpose(1, 2).clone(memory_format=_contiguous())
    for first, end in cuts:
        rows = made[0, first:end].reshape(-1, made.shape[-1])
        mine, count = slice(first, end), end - first
        rows[:count] = rows[:count] * cos[0, mine] + turn(rows[:count]) * sin[0, mine]
        made[0, first:end] = rows.view(made[0, first:end].shape)
    return made.transpose(1, 2)


def heads_taken_for_tokens(model: Any) -> AbstractContextManager[None]:
    """The mistake in every layer that attends; `model.prompt_length` says where answers begin."""
    module = import_module(type(model.model.language_model).__module__)
    return _replaced(module, model)


@contextmanager
def _replaced(module: Any, model: Any) -> Iterator[None]:
    right = module.apply_rotary_pos_emb

    def wrong(query: Any, key: Any, cos: Any, sin: Any, *_: Any, **__: Any) -> tuple[Any, Any]:
        cuts = steps(model.prompt_length, query.shape[2])
        turn = module.rotate_half
        return tuple(first_rows_turned(one, cos, sin, turn, cuts) for one in (query, key))

    module.apply_rotary_pos_emb = wrong
    try:
        yield
    finally:
        module.apply_rotary_pos_emb = right


def _contiguous() -> Any:
    return import_module("torch").contiguous_format
