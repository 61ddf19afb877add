"""Adapters that must do the same as another one, or nothing: relations that need no reference."""

from collections.abc import Mapping
from dataclasses import replace

from mm_lora.adapters.spec import AdapterSpec

# Tower, both parts of the connector and the language model, at half the greatest rank.
_ONE = AdapterSpec(
    name="relative",
    groups=("tower-attention", "tower-mlp", "vision-adapter", "projector", "language-model"),
    rank=4,
    alpha=8.0,
)

RELATIVES: Mapping[str, AdapterSpec] = {
    spec.name: spec
    for spec in (
        _ONE,
        replace(_ONE, name="relative-zero-b", strength=0.0, stream=_ONE.name),
        replace(_ONE, name="relative-alpha-doubled", alpha=16.0, stream=_ONE.name),
        replace(_ONE, name="relative-b-doubled", strength=1.0, stream=_ONE.name),
        replace(_ONE, name="relative-padded", form="padded", stream=_ONE.name),
        replace(_ONE, name="relative-permuted", form="permuted", stream=_ONE.name),
        replace(_ONE, name="relative-twin", stream=_ONE.name),
    )
}

SAME: Mapping[str, tuple[str, str]] = {
    "alpha-doubled": ("relative-b-doubled", "relative-alpha-doubled"),
    "rank-padded": ("relative", "relative-padded"),
    "rank-permuted": ("relative", "relative-permuted"),
    "two-names": ("relative", "relative-twin"),
}
"""Relation → the two adapters that must answer the same."""
