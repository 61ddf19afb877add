"""Pictures that are cut into square tiles: the tiling, its rows, how it is drawn and asked of."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from math import prod
from typing import ClassVar

from mm_lora.core.asking import Medium
from mm_lora.core.errors import UsageError
from mm_lora.families.flow import Flow, HookCase
from mm_lora.families.layouts import require_picture, require_whole


@dataclass(frozen=True, kw_only=True)
class TileLayout(ABC):
    """A tile of `image_size` pixels a side has patches of `patch_size`, what is left over is seen
    by no patch; n×n neighbouring patches become one row of the connector.

    Raises UsageError where no model can have these numbers.
    """

    image_size: int
    patch_size: int

    class_tokens: ClassVar[int] = 0
    """Rows of the tower for a tile beside those of its patches."""
    joins: ClassVar[str] = "scale_factor"
    """What config.json calls the number that says n."""

    def __post_init__(self) -> None:
        require_whole(self, "image_size", "patch_size")
        if self.side < 1 or self.side % self.joined:
            raise UsageError(
                f"{self.joins} {getattr(self, self.joins)} does not divide the {self.side} patches "
                f"along a tile (image_size {self.image_size} / patch_size {self.patch_size})",
                f"{self.joins} and vision_config of the config",
            )

    @property
    @abstractmethod
    def joined(self) -> int:
        """n."""

    @abstractmethod
    def tiling(self, width: int, height: int) -> tuple[int, int]:
        """(rows, columns) of tiles that a picture is cut into, (1, 1) for one that is not."""

    @property
    def shows_whole(self) -> bool:
        """Whether a tile more shows the whole of a picture that is cut."""
        return True

    @property
    def side(self) -> int:
        """Patches along a tile."""
        return self.image_size // self.patch_size

    @property
    def encoder_rows(self) -> int:
        """Rows of every tower layer for one tile."""
        return self.side**2 + self.class_tokens

    @property
    def connector_rows(self) -> int:
        """Rows of the connector for one tile, and its placeholders."""
        return (self.side // self.joined) ** 2

    def tiles(self, width: int, height: int) -> int:
        """How many tiles the tower sees of a picture."""
        cut = prod(self.tiling(width, height))
        return cut + (self.shows_whole and cut > 1)

    def flow(self, medium: Medium, markers: int) -> Flow:
        """A picture's, with so many tokens that are no placeholders."""
        size = (medium.width, medium.height)
        rows, columns = self.tiling(*size)
        tiles = self.tiles(*size)
        tokens = tiles * self.connector_rows
        return Flow(
            name=f"{medium.width}×{medium.height}",
            size=size,
            rows={"encoder": tiles * self.encoder_rows, "connector": tokens},
            tokens=tokens,
            prompt_tokens=tokens + markers,
            units=tiles,
            details={"tile_rows": rows, "tile_columns": columns, "tiles": tiles},
            drawing=drawing(rows, columns, whole=tiles > rows * columns),
        )

    @property
    def rows_of_a_tile(self) -> str:
        """In words."""
        return f"rows of one tile: {self.encoder_rows} encoder, {self.connector_rows} connector"

    def hook_cases(self, most: int) -> list[HookCase]:
        """Every number of tiles up to `most`; numbers that no picture has."""
        whole = [
            HookCase(
                label=f"{tiles} tiles",
                tokens=tiles * self.connector_rows,
                tower=tiles * self.encoder_rows,
                connector=tiles * self.connector_rows,
            )
            for tiles in range(1, most + 1)
        ]
        odd = (0, -1, -self.connector_rows, 1, self.connector_rows - 1, self.connector_rows + 1)
        return [*whole, *(HookCase(label=f"{n} image tokens", tokens=n) for n in odd)]


def nearest(width: int, height: int, tile: int, least: int, most: int) -> tuple[int, int]:
    """(rows, columns) of `least` to `most` tiles, each `tile` pixels a side: the grid whose shape
    is nearest to the picture's.

    Of several equally near ones the largest that the picture's pixels fill more than half, else the
    smallest. Distances are in double precision, as where the published processors compare them.
    """
    require_picture(width, height)
    numbers = range(1, most + 1)
    grids = [(r, c) for c in numbers for r in range(1, most // c + 1) if r * c >= least]
    near = min(abs(width / height - columns / rows) for rows, columns in grids)
    best = [(r, c) for r, c in grids if abs(width / height - c / r) == near]
    full = [grid for grid in best if 2 * width * height > tile**2 * prod(grid)]
    return max(full, key=prod) if full else min(best, key=prod)


def drawing(rows: int, columns: int, *, whole: bool) -> str:
    """The tiles as boxes, `columns` across and `rows` down, the global tile (G) beside them.

    A numbered box is a tile, in the order in which the tower sees them; G comes last or, in some
    families, first. `whole`: whether there is one.
    """
    cell = 2
    lines = []
    for row in range(rows):
        numbers = range(row * columns + 1, (row + 1) * columns + 1)
        left, middle, right = ("┌", "┬", "┐") if row == 0 else ("├", "┼", "┤")
        lines.append(left + middle.join(["─" * cell] * columns) + right)
        lines.append("│" + "│".join(f"{number:^{cell}}" for number in numbers) + "│")
    lines.append("└" + "┴".join(["─" * cell] * columns) + "┘")
    if whole:
        for i, part in enumerate(
            ("┌" + "─" * cell + "┐", f"│{'G':^{cell}}│", "└" + "─" * cell + "┘")
        ):
            lines[i] += "  " + part
    return "\n".join(lines)
