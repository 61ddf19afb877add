"""Fix: on a CPU, the rows of a picture attend to each other where the model was trained so.

The backend takes one causal flag for each request. So a request is handed to it in stretches, as if
each were a request of its own: a stretch of text is causal, one of a picture is not, and neither
sees what lies behind its end.
"""

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ..registry import Patch

MODULE = "vllm.v1.attention.backends.cpu_attn"
Ranges = Sequence[tuple[int, int]]
"""(first, last) position of each picture of a request."""


def stretches(first: int, end: int, pictures: Ranges) -> Iterator[tuple[int, bool]]:
    """(end of it, whether it is a picture's) of each stretch of the positions `first` to `end`."""
    at = first
    for start, last in sorted(pictures):
        if last < at or start >= end:
            continue
        if start > at:
            yield start, False
        at = min(last + 1, end)
        yield at, True
    if at < end:
        yield end, False


def cut(
    starts: Sequence[int], lengths: Sequence[int], pictures: Mapping[int, Ranges]
) -> list[tuple[int, int, int, bool]]:
    """(request, first row behind it, keys that it sees, whether it is a picture's) of each stretch.

    `starts`: first row of each request and of what follows them; `lengths`: keys of each.
    """
    found = []
    for request, (keys, row, behind) in enumerate(zip(lengths, starts, starts[1:], strict=False)):
        first = keys - (behind - row)
        for end, picture in stretches(first, keys, pictures.get(request, ())):
            found.append((request, row + end - first, end, picture))
    return found


def _cut_up(original: Any) -> Any:
    def build(self: Any, common_prefix_len: int, common: Any, *more: Any, **named: Any) -> Any:
        pictures = common.mm_req_doc_ranges or {}
        plain = self.is_cross_attention or self.is_encoder_only_attention
        if plain or common.causal is not True or not any(pictures.values()):
            return original(self, common_prefix_len, common, *more, **named)
        starts = common.query_start_loc.tolist()
        parts = cut(starts, common.seq_lens.tolist(), pictures)
        if not any(picture for *_, picture in parts):
            return original(self, common_prefix_len, common, *more, **named)
        owners, ends, keys, of_picture = zip(*parts, strict=True)
        common = dataclasses.replace(
            common,
            num_reqs=len(parts),
            query_start_loc=common.query_start_loc.new_tensor([0, *ends]),
            seq_lens=common.seq_lens.new_tensor(keys),
            block_table_tensor=common.block_table_tensor[list(owners)].contiguous(),
            causal=common.seq_lens.new_tensor([not one for one in of_picture]),
        )
        return original(self, common_prefix_len, common, *more, **named)

    return build


PATCH = Patch(
    id="cpu-picture-attention",
    kind="fix",
    platform="cpu",
    versions=">=0.32",
    wraps={f"{MODULE}:CPUAttentionMetadataBuilder.build": _cut_up},
    reason="cpu_attn.py reads no mm_req_doc_ranges, and platforms/cpu.py::get_attn_backend_cls "
    "takes it for every model: those whose pictures see all of themselves get causal attention",
    upstream=("27938",),
)
