"""LLaVA-NeXT's count hook and names: two fixes, and seeded mistakes that the row checks find."""

from typing import Any

from ...mutants.mapping import miscount, miscounted
from ...registry import Patch
from ..llava.hooks import Rows, has_dropped_token, patches, tower_names

OWNER = "vllm.model_executor.models.llava_next:LlavaNextForConditionalGeneration"
HOOK = f"{OWNER}.get_mm_lora_token_counts"


def most_tiles(model: Any) -> int:
    """Of one picture, the tile that shows the whole among them."""
    side: int = model.config.vision_config.image_size
    canvas: int = max(high * wide for high, wide in model.config.image_grid_pinpoints)
    return 1 + canvas // side**2


def _room_for_tiles(original: Any) -> Any:
    def get_mm_lora_token_counts(self: Any, **given: Any) -> Rows:
        if given["mm_kwargs"] is not None:
            rows: Rows = original(self, **given)
            return rows
        # No picture has fewer placeholders than one tile has patches; some have hardly more, and
        # the processor fills each up to as many tiles as any of the same request has.
        pictures = -(-given["num_mm_embeds"] // patches(self))
        tiles = max(pictures, 0) * most_tiles(self)
        return tiles * (patches(self) + has_dropped_token(self)), tiles * patches(self)

    return get_mm_lora_token_counts


def _placeholders_counted(original: Any) -> Any:
    def get_mm_lora_token_counts(self: Any, **given: Any) -> Rows:
        tower, _ = original(self, **given)
        return tower, given["num_mm_embeds"]

    return get_mm_lora_token_counts


def whole_picture_lost(model: Any, tower: int, connector: int) -> Rows:
    """The tile that shows the whole picture is not counted."""
    return tower - patches(model) - has_dropped_token(model), connector - patches(model)


def class_tokens_lost(model: Any, tower: int, connector: int) -> Rows:
    """The tower is counted as many rows as the projector."""
    return connector, connector


PATCHES = (
    Patch(
        id="llava-next-room-for-tiles",
        kind="fix",
        versions=">=0.32",
        wraps={HOOK: _room_for_tiles},
        reason="the wrappers' buffers are sized by placeholders; tower and projector see more rows",
    ),
    tower_names("llava-next", OWNER),
    *(
        miscounted(f"llava-next-{name}", HOOK, make, reason, ("llava-next",))
        for name, make, reason in (
            ("whole-picture-lost", miscount(whole_picture_lost), "the whole picture is lost"),
            ("class-tokens-lost", miscount(class_tokens_lost), "no tower row for the class token"),
            ("placeholders-counted", _placeholders_counted, "projector rows by placeholders"),
        )
    ),
)
