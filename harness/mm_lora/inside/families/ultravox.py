"""Ultravox: three fixes, and seeded mistakes in its count hook, which the row checks must find."""

import dataclasses
from types import ModuleType
from typing import Any

from ..mutants.mapping import connector_as_tower, held_by_tower, miscount, miscounted, misplaced
from ..registry import Patch

MODULE = "vllm.model_executor.models.ultravox"
CLASS = f"{MODULE}:UltravoxModel"
COUNTS = f"{CLASS}.get_mm_lora_token_counts"
MAPPING = f"{CLASS}.get_mm_mapping"
TOWER = f"{MODULE}:UltravoxWhisperEncoder.forward"
ENCODER = f"{MODULE}:_WHISPER_ENCODER_MAPPER"

Rows = tuple[int, int]
"""(tower rows, connector rows)."""


def _named(module: ModuleType) -> None:
    model: Any = getattr(module, CLASS.partition(":")[2])
    encoder: Any = getattr(module, ENCODER.partition(":")[2])
    deeper = encoder.orig_to_new_substr
    # Once, where adapters are read too, instead of where the tower's weights alone are.
    whole = {**model.hf_to_vllm_mapper.orig_to_new_substr, **deeper}
    model.hf_to_vllm_mapper = dataclasses.replace(model.hf_to_vllm_mapper, orig_to_new_substr=whole)
    own = dataclasses.replace(encoder, orig_to_new_substr={})
    setattr(module, ENCODER.partition(":")[2], own)


def _room_for_short_sounds(original: Any) -> Any:
    def get_mm_lora_token_counts(self: Any, **given: Any) -> Rows:
        # Each placeholder may be a sound of its own, which has a chunk of rows.
        one: Rows = original(self, **{**given, "num_mm_embeds": 1})
        if given["mm_kwargs"] is None and given["num_mm_embeds"] > 0:
            return one[0] * given["num_mm_embeds"], one[1] * given["num_mm_embeds"]
        rows: Rows = original(self, **given)
        return rows

    return get_mm_lora_token_counts


def behind(states: Any, ends: Any, axis: int) -> Any:
    """`states` [chunks, …] with zeros from each chunk's own end on, along an axis."""
    places = ends.new_tensor(range(states.shape[axis])).to(states.device)
    shape = [len(ends), *(-1 if one == axis else 1 for one in range(1, states.dim()))]
    late = (places.unsqueeze(0) >= ends.to(states.device).unsqueeze(1)).reshape(shape)
    return states.masked_fill(late, 0)


def _filling_unheard(original: Any) -> Any:
    def forward(self: Any, input_features: Any, audio_lens: Any) -> Any:
        # The second convolution looks one frame ahead.
        silence = self.conv2.register_forward_pre_hook(
            lambda _, given: (behind(given[0], audio_lens, 2),)
        )
        try:
            rows = original(self, input_features, audio_lens)
        finally:
            silence.remove()
        return behind(rows, self._get_feat_extract_output_lengths(audio_lens), 1)

    return forward


def half_position_lost(model: Any, tower: int, connector: int) -> Rows:
    """187 rows of the projector a chunk instead of 188."""
    config = model.config
    chunks = tower // config.audio_config.max_source_positions
    return tower, chunks * (config.audio_config.max_source_positions // config.stack_factor)


def heard_alone(model: Any, tower: int, connector: int) -> Rows:
    """The tower counted a position less than a chunk has, as if its end were not filled up."""
    return tower - 1, connector


PATCHES = (
    Patch(
        id="ultravox-tower-mlp-names",
        kind="fix",
        versions=">=0.32",
        needs=(f"{CLASS}.hf_to_vllm_mapper", ENCODER),
        adds=_named,
        reason="fc1 and fc2 of the tower lie below `mlp` in vLLM; weights are renamed, adapters "
        "are not, and so are not applied",
    ),
    Patch(
        id="ultravox-room-for-short-sounds",
        kind="fix",
        versions=">=0.32",
        wraps={COUNTS: _room_for_short_sounds},
        reason="the wrappers' buffers are sized as if all sounds filled their chunks; a short one "
        "has as many rows and fewer placeholders",
    ),
    Patch(
        id="ultravox-filling-unheard",
        kind="fix",
        versions=">=0.32",
        wraps={TOWER: _filling_unheard},
        reason="chunks are filled up, and what the tower makes of the filling is stacked behind "
        "the last positions of a sound that does not fill its last placeholder",
    ),
    *(
        miscounted(f"ultravox-{name}", COUNTS, miscount(mistake), reason, ("ultravox",))
        for name, mistake, reason in (
            ("half-position-lost", half_position_lost, "187 connector rows a chunk"),
            ("heard-alone", heard_alone, "a tower row a chunk too few"),
            ("connector-as-tower", connector_as_tower, "connector counted the tower's rows"),
        )
    ),
    misplaced(
        "ultravox-projector-under-tower",
        MAPPING,
        held_by_tower,
        "projector held by the tower",
        ("ultravox",),
    ),
)
