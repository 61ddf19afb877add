"""Pure arithmetic from a picture's size to the rows that Llama 4's vision layers must see.

One of the four independent truths: written from the formulae, sharing no line with transformers or
vLLM. All counts are numbers of rows (tokens); sizes are pixels. Sources: Llama 4's published
`config.json` and `preprocessor_config.json`, and the token-flow table of vLLM pull request 35147.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from typing import Any

from mm_lora.core.errors import UsageError

MAX_CHUNKS = 16
"""`max_patches` of the published image processor: tiles of a picture without the global tile."""

CLASS_DEFAULTS: Mapping[str, Any] = {
    "image_size": 448,
    "patch_size": 14,
    "pixel_shuffle_ratio": 0.5,
}
"""What transformers' `Llama4VisionConfig` assumes for a key that a config lacks. Unpublished."""

_FRAME_MARKERS = 3
"""`<|image_start|>`, `<|image|>` and `<|image_end|>`: once a picture."""


@dataclass(frozen=True)
class Geometry:
    """The vision numbers that decide token counts.

    `image_size`: side of a square tile in pixels. `patch_size`: side of a patch in pixels.
    `pixel_shuffle_ratio`: 1/n, where n×n neighbouring patches become one row of the connector.
    `max_chunks`: the most tiles that a picture may be cut into, the global tile not counted.
    Raises UsageError where no model can have these numbers.
    """

    image_size: int
    patch_size: int
    pixel_shuffle_ratio: float
    max_chunks: int = MAX_CHUNKS

    def __post_init__(self) -> None:
        for name in ("image_size", "patch_size", "max_chunks"):
            _positive_int(name, getattr(self, name))
        ratio = self.pixel_shuffle_ratio
        if isinstance(ratio, bool) or not isinstance(ratio, int | float) or not 0 < ratio <= 1:
            raise UsageError(
                f"pixel_shuffle_ratio is {ratio!r}; it must be above 0 and at most 1",
                "vision_config.pixel_shuffle_ratio of the config (Llama 4: 0.5)",
            )
        if self.image_size % self.patch_size:
            raise UsageError(
                f"image_size {self.image_size} is not a multiple of patch_size {self.patch_size}",
                "vision_config.image_size and vision_config.patch_size of the config",
            )
        if abs(self.shuffle * ratio - 1) > 1e-9:
            raise UsageError(
                f"pixel_shuffle_ratio {ratio} is not 1/n for a whole n",
                "vision_config.pixel_shuffle_ratio of the config (Llama 4: 0.5)",
            )
        if self.grid % self.shuffle:
            raise UsageError(
                f"pixel_shuffle_ratio {ratio} does not divide the grid of {self.grid}×{self.grid} "
                f"patches (image_size {self.image_size} / patch_size {self.patch_size})",
                "vision_config of the config: image_size / patch_size × pixel_shuffle_ratio "
                "must be a whole number",
            )

    @classmethod
    def from_config(cls, config: Mapping[str, Any], *, max_chunks: int = MAX_CHUNKS) -> "Geometry":
        """The geometry in a `config.json`; keys left out have transformers' class defaults (448).

        Takes a whole Llama 4 config or its vision part alone. `max_chunks` is not in config.json
        but in the image processor's `preprocessor_config.json` (`max_patches`).
        """
        vision = vision_part(config)
        numbers = {key: vision.get(key, default) for key, default in CLASS_DEFAULTS.items()}
        return cls(**numbers, max_chunks=max_chunks)

    @cached_property
    def grid(self) -> int:
        """Patches along one side of a tile: p = image_size / patch_size."""
        return self.image_size // self.patch_size

    @cached_property
    def shuffle(self) -> int:
        """Patches along one side of the square that pixel shuffle folds into one row: 1 / ratio."""
        return max(1, round(1 / self.pixel_shuffle_ratio))

    @property
    def patch_rows(self) -> int:
        """Rows of the patch embedding for one chunk: p². The class token does not exist yet."""
        return self.grid**2

    @property
    def encoder_rows(self) -> int:
        """Rows of every tower layer for one chunk: p² + 1, the 1 being the class token (CLS)."""
        return self.patch_rows + 1

    @property
    def connector_rows(self) -> int:
        """Rows of vision adapter and projector for one chunk: p² · ratio², without CLS.

        Also the image tokens that the language model sees of that chunk.
        """
        return (self.grid // self.shuffle) ** 2


@dataclass(frozen=True)
class TokenFlow:
    """What one picture of `width` × `height` pixels becomes; rows are sums over its chunks.

    `tile_rows` × `tile_columns`: how the picture is cut, 1 × 1 when it is not. `chunks`: the tiles,
    plus the global tile if there is more than one. `prompt_tokens`: `image_tokens` + all markers.
    """

    width: int
    height: int
    tile_rows: int
    tile_columns: int
    chunks: int
    patch_rows: int
    encoder_rows: int
    connector_rows: int
    image_tokens: int
    prompt_tokens: int


def token_flow(geometry: Geometry, width: int, height: int) -> TokenFlow:
    """The token flow of one picture, `width` × `height` in pixels as the model sees it.

    Markers: three frame the picture; a picture that is cut also has `<|tile_x_separator|>` between
    the tiles of a row and `<|tile_y_separator|>` after each row: as many as there are tiles.
    Raises UsageError for a size that is not positive.
    """
    _positive_int("width", width)
    _positive_int("height", height)
    tile_rows, tile_columns = _tiling(geometry, width, height)
    tiles = tile_rows * tile_columns
    is_cut = tiles > 1
    chunks = tiles + 1 if is_cut else 1
    image_tokens = chunks * geometry.connector_rows
    return TokenFlow(
        width=width,
        height=height,
        tile_rows=tile_rows,
        tile_columns=tile_columns,
        chunks=chunks,
        patch_rows=chunks * geometry.patch_rows,
        encoder_rows=chunks * geometry.encoder_rows,
        connector_rows=chunks * geometry.connector_rows,
        image_tokens=image_tokens,
        prompt_tokens=image_tokens + _FRAME_MARKERS + (tiles if is_cut else 0),
    )


def vision_part(config: Mapping[str, Any]) -> Mapping[str, Any]:
    """The vision numbers of a config.json; UsageError where it is no Llama 4 with a tower."""
    kind = config.get("model_type")
    if kind == "llama4_vision_model" or (kind is None and "vision_config" not in config):
        vision: Any = config if "image_size" in config or kind else None
    else:
        vision = config.get("vision_config")
    if kind not in (None, "llama4", "llama4_vision_model"):
        raise UsageError(
            f"the config's model_type is {kind!r}; this arithmetic is for Llama 4",
            'a config.json with "model_type": "llama4"',
        )
    if not isinstance(vision, Mapping):
        raise UsageError("the config has no vision_config", "a config.json of a multimodal Llama 4")
    return vision


def _tiling(geometry: Geometry, width: int, height: int) -> tuple[int, int]:
    """(rows, columns) of the canvas that shows the picture best.

    Every canvas of at most `max_chunks` tiles allows the picture one scale, undistorted. Of the
    canvases that hold it whole (scale ≥ 1) the tightest is taken, so that it is never blown up more
    than it must be (`resize_to_max_canvas` = false); if none holds it, the one that shrinks it
    least. Among equals, the one of fewest tiles: it is unique, since the overlap of two canvases
    with the same scale has that scale too. Exact, while Llama 4's processor divides in single
    precision: two scales that differ do so by more than 1 part in `max_chunks` × the longer side,
    so that it can not tell otherwise below a million pixels a side.
    """
    scales = {
        (rows, columns): min(
            Fraction(columns * geometry.image_size, width),
            Fraction(rows * geometry.image_size, height),
        )
        for rows, columns in _canvases(geometry.max_chunks)
    }
    whole = [scale for scale in scales.values() if scale >= 1]
    best = min(whole) if whole else max(scales.values())
    return min(
        (canvas for canvas, scale in scales.items() if scale == best),
        key=lambda c: c[0] * c[1],
    )


def _canvases(max_chunks: int) -> Iterator[tuple[int, int]]:
    """All (rows, columns) with at most `max_chunks` tiles."""
    for rows in range(1, max_chunks + 1):
        for columns in range(1, max_chunks // rows + 1):
            yield rows, columns


def _positive_int(name: str, value: object) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or value <= 0:
        raise UsageError(f"{name} is {value!r}; it must be a whole number above zero")
