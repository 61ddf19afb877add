"""Pixtral in Mistral's format: two fixes, what its hook reads, and seeded mistakes in its hooks."""

import dataclasses
from collections.abc import Iterable, Iterator, Mapping
from types import ModuleType, SimpleNamespace
from typing import Any

from ..mutants.mapping import connector_as_tower, held_by_tower, miscount, miscounted, misplaced
from ..registry import Patch

MODULE = "vllm.model_executor.models.pixtral"
CLASS = f"{MODULE}:PixtralForConditionalGeneration"
COUNTS = f"{CLASS}.get_mm_lora_token_counts"
MAPPING = f"{CLASS}.get_mm_mapping"
OWN = ("pixtral", "mistral-small")
MERGER = "patch_merger."

Rows = tuple[int, int]
"""(tower rows, connector rows)."""


def prepared(config: Any) -> Mapping[str, Any]:
    """What the count hook reads, as the class's own __init__ computes it."""
    params = config.params if isinstance(config.params, dict) else vars(config.params)
    vision = params["vision_encoder"]
    vision = vision if isinstance(vision, dict) else vars(vision)
    merges = vision.get("mm_projector_id", "") == "patch_merge"
    return {
        "patch_merger": SimpleNamespace() if merges else None,
        "vision_args": SimpleNamespace(spatial_merge_size=vision.get("spatial_merge_size", 1)),
    }


def in_halves(rows: Any, heads: int) -> Any:
    """Rows of q or k, whose rotations are neighbours, in two halves of each head."""
    return rows.view(heads, -1, 2, *rows.shape[1:]).transpose(1, 2).reshape(rows.shape)


def in_pairs(states: Any) -> Any:
    """The other way round, of the last axis: the values of one head."""
    return states.unflatten(-1, (2, -1)).transpose(-1, -2).flatten(-2)


def _weights_in_halves(original: Any) -> Any:
    def load_weights(self: Any, weights: Iterable[tuple[str, Any]]) -> Any:
        heads = self.vision_args.num_attention_heads

        def turned() -> Iterator[tuple[str, Any]]:
            for name, weight in weights:
                tower = name.startswith("vision_encoder.")
                turns = tower and name.endswith((".wq.weight", ".wk.weight"))
                yield name, in_halves(weight, heads) if turns else weight

        return original(self, turned())

    return load_weights


def _rotated_in_pairs(original: Any) -> Any:
    def apply_rotary_emb_vit(xq: Any, xk: Any, freqs_cis: Any) -> Any:
        return original(in_pairs(xq), in_pairs(xk), freqs_cis=freqs_cis)

    return apply_rotary_emb_vit


def _merger_in_connector(original: Any) -> Any:
    def get_mm_mapping(self: Any) -> Any:
        mapping = original(self)
        mapping.connector = [*mapping.connector, MERGER]
        return mapping

    return get_mm_mapping


def _named(module: ModuleType) -> None:
    model: Any = getattr(module, CLASS.partition(":")[2])
    mapper = model.hf_to_vllm_mapper
    # Before the projector's own prefix, which would fit too.
    prefixes = {f"model.multi_modal_projector.{MERGER}": MERGER, **mapper.orig_to_new_prefix}
    model.hf_to_vllm_mapper = dataclasses.replace(mapper, orig_to_new_prefix=prefixes)


def merge_not_squared(model: Any, tower: int, connector: int) -> Rows:
    """2 tower rows a placeholder instead of 4."""
    return connector * model.vision_args.spatial_merge_size, connector


def merge_forgotten(model: Any, tower: int, connector: int) -> Rows:
    """The tower counted the rows of the projector."""
    return connector, connector


def breaks_counted(model: Any, tower: int, connector: int) -> Rows:
    """A marker for every 16 placeholders counted too, as the prompt has one behind each row."""
    more = -(-connector // 16)
    return tower + more, connector + more


PATCHES = (
    Patch(
        id="pixtral-tower-halves",
        kind="fix",
        versions=">=0.32",
        wraps={
            f"{CLASS}.load_weights": _weights_in_halves,
            f"{MODULE}:apply_rotary_emb_vit": _rotated_in_pairs,
        },
        reason="in Mistral's files the two numbers of each rotation are neighbours, in adapters "
        "they lie in halves of a head; the language model's weights are turned, the tower's not",
    ),
    Patch(
        id="pixtral-patch-merger",
        kind="fix",
        versions=">=0.32",
        needs=(f"{CLASS}.hf_to_vllm_mapper",),
        wraps={MAPPING: _merger_in_connector},
        adds=_named,
        reason="no prefix of get_mm_mapping holds the patch merger, and the mapper gives it the "
        "projector's: its adapters are not applied",
    ),
    *(
        miscounted(f"pixtral-{name}", COUNTS, miscount(mistake), reason, families)
        for name, mistake, reason, families in (
            ("merge-not-squared", merge_not_squared, "tower rows by merge, not merge²", OWN[1:]),
            ("merge-forgotten", merge_forgotten, "tower counted the projector's rows", OWN[1:]),
            (
                "connector-as-tower",
                connector_as_tower,
                "projector counted the tower's rows",
                OWN[1:],
            ),
            (
                "breaks-counted",
                breaks_counted,
                "markers between the rows of a picture counted as its rows",
                OWN,
            ),
        )
    ),
    misplaced(
        "pixtral-projector-under-tower", MAPPING, held_by_tower, "projector held by the tower", OWN
    ),
)
PREPARE = {"PixtralForConditionalGeneration": prepared}
