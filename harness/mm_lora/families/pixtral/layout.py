"""Pure arithmetic from a picture's size to the rows that Pixtral's vision layers must see.

Written from the model's report (arXiv 2410.07073) and mistral-common's description of a picture's
tokens, sharing no line with mistral-common, transformers or vLLM.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mm_lora.core.errors import UsageError
from mm_lora.families.image_processor import require_same, stored_settings
from mm_lora.families.layouts import require_picture, require_whole

TEKKEN = "tekken.json"
MERGES = "patch_merge"
"""`mm_projector_id` of a model that merges patches before its projector."""


@dataclass(frozen=True, kw_only=True)
class Layout:
    """The numbers that decide token counts.

    `largest`: pixels that the longer side of a picture keeps at most; `patch_size`: of a patch.
    `merge`: n, where n×n neighbouring patches become one row of the projector, 1 where it takes
    each. Raises UsageError where no model can have these numbers.
    """

    largest: int
    patch_size: int
    merge: int = 1

    def __post_init__(self) -> None:
        require_whole(self, "largest", "patch_size", "merge")
        if self.largest < self.patch_size * self.merge:
            raise UsageError(
                f"a picture of {self.largest} pixels has no {self.merge}×{self.merge} patches of "
                f"{self.patch_size}",
                "max_image_size and patch_size of vision_encoder",
            )

    def grid(self, width: int, height: int) -> tuple[int, int]:
        """(rows, columns) of placeholders: what covers the picture, which is shrunk until its
        longer side fits, and then stretched to whole ones."""
        require_picture(width, height)
        longest = max(width, height)
        if longest > self.largest:
            # In floating point, and a half pixel to the even side, as mistral-common does.
            ratio = longest / self.largest
            width, height = (max(round(side / ratio), 1) for side in (width, height))
        side = self.patch_size * self.merge
        return -(-height // side), -(-width // side)

    def patches(self, grid: tuple[int, int]) -> int:
        """Rows of every layer of the tower for one picture."""
        return grid[0] * grid[1] * self.merge**2


def vision_of(config: Mapping[str, Any]) -> Mapping[str, Any]:
    """The vision_encoder of a params.json, which the config holds under `params`."""
    params = config.get("params")
    vision = params.get("vision_encoder") if isinstance(params, Mapping) else None
    if not isinstance(vision, Mapping):
        raise UsageError("the params have no vision_encoder", "a params.json of a whole Pixtral")
    return vision


def layout_of(config: Mapping[str, Any], folder: Path | None, *, merges: bool) -> Layout:
    """Of a config; tekken.json in `folder`, where there is one, must say the same.

    `merges`: whether the family's models merge patches.
    """
    vision = vision_of(config)
    if (vision.get("mm_projector_id", "") == MERGES) != merges:
        raise UsageError(
            f"mm_projector_id is {vision.get('mm_projector_id', '')!r}",
            f"{MERGES} where model_type says that patches are merged, none elsewhere",
        )
    if bool(vision.get("add_pre_mm_projector_layer_norm", False)) != merges:
        raise UsageError(
            "a projector has a norm before it if it merges patches, and none otherwise",
            "add_pre_mm_projector_layer_norm of vision_encoder",
        )
    size = vision.get("image_size", 1024)
    layout = Layout(
        largest=vision.get("max_image_size", size),
        patch_size=vision.get("patch_size", 16),
        merge=vision.get("spatial_merge_size", 1) if merges else 1,
    )
    if layout.largest > size:
        raise UsageError(
            f"pictures of {layout.largest} pixels, positions for {size}",
            "max_image_size and image_size of vision_encoder",
        )
    if folder is not None:
        # That of transformers' layout, which may lie in the same folder.
        require_same(folder, {"size.longest_edge": layout.largest})
        for said, _ in stored_settings(folder, (TEKKEN,)):
            _require_same(said.get("image") or said.get("multimodal") or {}, layout)
    return layout


def _require_same(said: Mapping[str, Any], layout: Layout) -> None:
    for key, ours in (
        ("max_image_size", layout.largest),
        ("image_patch_size", layout.patch_size),
        ("spatial_merge_size", layout.merge),
    ):
        if said.get(key, ours) != ours:
            raise UsageError(
                f"{TEKKEN} has {key} {said[key]}, params.json {ours}", f"image of {TEKKEN}"
            )
