"""Fixes: LoRA layers in BLIP-2's tower and connector, the rows that they see. Mutants: mistakes in
its hooks."""

from collections.abc import Mapping
from typing import Any

from .. import lora_linear
from ..mutants.mapping import connector_as_tower, held_by_tower, miscount, miscounted, misplaced
from ..registry import Patch

MODULE = "vllm.model_executor.models.blip2"
CLASS = f"{MODULE}:Blip2ForConditionalGeneration"
COUNTS = f"{CLASS}.get_mm_lora_token_counts"
MAPPING = f"{CLASS}.get_mm_mapping"

Rows = tuple[int, int]
"""(tower rows, connector rows)."""


def rows_of_a_picture(config: Any) -> int:
    """Of the tower, the class token among them."""
    vision = config.vision_config
    side: int = vision.image_size // vision.patch_size
    return side * side + 1


def prepared(config: Any) -> Mapping[str, int]:
    """What the count hook reads, as the class's own __init__ computes it."""
    return {"_vision_tokens_per_image": rows_of_a_picture(config)}


def _qkv_listed(original: Any) -> Any:
    def init(self: Any, *given: Any, **named: Any) -> None:
        original(self, *given, **named)
        # Beside what the class says: the language model has the same names, which must agree.
        self.packed_modules_mapping = {**self.packed_modules_mapping, "qkv": ["qkv"]}

    return init


def _in_layers_of_vllm(original: Any) -> Any:
    # With the names by which vLLM tells a model of its own kind (model_loader/utils.py).
    def init(self: Any, *, vllm_config: Any, prefix: str = "") -> None:
        original(self, vllm_config=vllm_config, prefix=prefix)
        for path, layer in list(self.qformer.named_modules()):
            if type(layer).__name__ == "Linear":
                parent, _, name = path.rpartition(".")
                setattr(self.qformer.get_submodule(parent), name, lora_linear.replicated(layer))
        self.language_projection = lora_linear.replicated(self.language_projection)

    return init


def cross_keys(config: Any) -> list[str]:
    """The layers of the Q-Former that read the tower's rows."""
    qformer = config.qformer_config
    return [
        f"qformer.encoder.layer.{layer}.crossattention.attention.{name}"
        for layer in range(0, qformer.num_hidden_layers, qformer.cross_attention_frequency)
        for name in ("key", "value")
    ]


def _cross_keys_by_tower(original: Any) -> Any:
    def get_mm_mapping(self: Any) -> Any:
        mapping = original(self)
        mapping.tower_model = [*mapping.tower_model, *cross_keys(self.config)]
        return mapping

    return get_mm_mapping


def _cross_keys_by_connector(original: Any) -> Any:
    def get_mm_mapping(self: Any) -> Any:
        mapping = original(self)
        mapping.tower_model = [one for one in mapping.tower_model if "crossattention" not in one]
        return mapping

    return get_mm_mapping


def _any_budget(original: Any) -> Any:
    def get_mm_lora_token_counts(self: Any, **given: Any) -> Rows:
        if given["mm_kwargs"] is None:
            given["num_mm_embeds"] -= given["num_mm_embeds"] % self.config.num_query_tokens
        rows: Rows = original(self, **given)
        return rows

    return get_mm_lora_token_counts


def class_token_forgotten(model: Any, tower: int, connector: int) -> Rows:
    """256 rows of the tower a picture, not 257."""
    return tower - tower // rows_of_a_picture(model.config), connector


def tower_as_queries(model: Any, tower: int, connector: int) -> Rows:
    """The tower is counted a row for each placeholder."""
    return connector, connector


PATCHES = (
    Patch(
        id="blip2-tower-qkv",
        kind="fix",
        versions=">=0.32",
        wraps={"vllm.model_executor.models.blip:BlipVisionModel.__init__": _qkv_listed},
        reason="the tower's class lists `qkv_proj` as packed, but its layer is called `qkv`, and "
        "on disk too: it has no LoRA layer, and what an adapter has for it is ignored",
    ),
    Patch(
        id="blip2-connector-layers",
        kind="fix",
        versions=">=0.32",
        needs=(lora_linear.NEEDS,),
        wraps={f"{CLASS}.__init__": _in_layers_of_vllm, MAPPING: _cross_keys_by_tower},
        reason="Q-Former and projection are made of nn.Linear, for which vLLM has no LoRA layer: "
        "every adapter that has a tensor there is refused. What reads the picture in the Q-Former "
        "sees the tower's rows, not as many as there are queries",
    ),
    Patch(
        id="blip2-any-budget",
        kind="fix",
        versions=">=0.32",
        wraps={COUNTS: _any_budget},
        reason="asked for the size of the buffers, the hook raises where no number of pictures "
        "fills the encoder's budget: the server does not start",
    ),
    *(
        miscounted(f"blip2-{name}", COUNTS, miscount(mistake), reason, ("blip-2",))
        for name, mistake, reason in (
            ("class-token-forgotten", class_token_forgotten, "no tower row for the class token"),
            ("tower-as-queries", tower_as_queries, "tower rows as many as queries"),
            ("connector-as-tower", connector_as_tower, "connector counted the tower's rows"),
        )
    ),
    misplaced(
        "blip2-cross-keys-under-connector",
        MAPPING,
        _cross_keys_by_connector,
        "what reads the tower's rows is mapped the queries'",
        ("blip-2",),
    ),
    misplaced(
        "blip2-connector-under-tower",
        MAPPING,
        held_by_tower,
        "connector held by the tower",
        ("blip-2",),
    ),
)
PREPARE = {"Blip2ForConditionalGeneration": prepared}
