"""LLaVA-NeXT: as many tiles as a picture's shape asks for; a projector row is no placeholder."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

from mm_lora.core.asking import Medium
from mm_lora.families.family import Sizes, VllmClass
from mm_lora.families.flow import Flow, HookCase, known
from mm_lora.families.llava.family import FAMILY as LLAVA
from mm_lora.families.llava.towers import EncoderTower
from mm_lora.families.llava_next.layout import Layout, layout_of
from mm_lora.families.pictures import Picture, by_size, questions
from mm_lora.families.tiles import drawing

SHORT_BUFFERS = "buffers-sized-by-placeholders"
BUDGET = "placeholders of any pictures"


class LlavaNext(EncoderTower):
    """A picture is scaled onto a canvas of tiles, and shown once more as a whole, before them.

    What the canvas has more than the picture goes through tower and projector too; only then is it
    cut off, and a learned row put after each line of patches.
    """

    name = "llava-next"
    title = "LLaVA-NeXT"
    model_types = ("llava_next",)
    published = ("llava-next", "llava-next-34b")
    repositories: ClassVar[Mapping[str, str]] = {
        "llava-hf/llava-v1.6-mistral-7b-hf": "llava-next",
        "llava-hf/llava-v1.6-34b-hf": "llava-next-34b",
    }
    state = "partly"
    state_reason = "with the fixes only the base, rows and arithmetic were run, no mixed batch"
    tower = LLAVA.tower
    assumed = LLAVA.assumed
    processor_class = "LlavaNextProcessor"
    vllm = VllmClass(module="llava_next", name="LlavaNextForConditionalGeneration")
    # Low ones have few placeholders: three fit into a prompt. One and few have as many tiles, for
    # other checks put them in one request after the one of them was encoded alone.
    sizes = Sizes(
        one=(336, 60),
        few=(600, 150),
        many=(700, 360),
        small=((336, 14), (500, 20), (420, 42), (336, 28)),
        labels={"one": "3-tiles", "few": "3-tiles-wide", "many": "5-tiles"},
    )
    known_flows = known(
        name,
        (1, 1),
        "a square is half of the first pinpoint; counted by transformers 5.19",
        image_tokens=576 + 24 * 25,
    )

    def layout(self, config: Mapping[str, Any], folder: Path | None) -> Layout:
        """As LLaVA's, and the pinpoints."""
        return layout_of(config, folder, self.tower, self.assumed)

    def flow(self, layout: Any, medium: Medium) -> Flow:
        """All tiles in one call of the tower, and one of the projector."""
        size = (medium.width, medium.height)
        rows, columns = layout.tiling(*size)
        tokens = layout.tokens(*size)
        flow = Flow(
            name=f"{medium.width}×{medium.height}",
            size=size,
            rows={},
            tokens=tokens,
            prompt_tokens=tokens,
            details={"tile_rows": rows, "tile_columns": columns, "tiles": rows * columns + 1},
            drawing=drawing(rows, columns, whole=True),
        )
        return _with_tiles(layout, flow, rows * columns + 1)

    def together(self, layout: Any, flows: Sequence[Flow]) -> Sequence[Flow]:
        """The processor adds empty tiles until each picture has as many as the one with most."""
        most = max((flow.units for flow in flows), default=0)
        return [_with_tiles(layout, flow, most) for flow in flows]

    def describe(self, layout: Any) -> Sequence[str]:
        """The layout, and the rows of a tile."""
        canvases = ", ".join(f"{wide}×{high}" for high, wide in layout.pinpoints)
        return (
            f"image_size {layout.image_size} / patch_size {layout.patch_size}, "
            f"on a canvas of {canvases}",
            f"rows of one tile: {layout.tile_rows} encoder, {layout.side**2} connector",
        )

    def miniature(self, config: Mapping[str, Any], layout: Any) -> dict[str, Any]:
        """Of this class."""
        return super().miniature(config, layout) | {"architectures": [self.vllm.name]}

    def picture_settings(self, layout: Any) -> dict[str, Any]:
        """LLaVA's for each tile."""
        return LLAVA.picture_settings(layout) | {
            "image_processor_type": "LlavaNextImageProcessor",
            "do_pad": True,
            "image_grid_pinpoints": [list(one) for one in layout.pinpoints],
        }

    def questions(self, layout: Any) -> Sequence[Sequence[Picture]]:
        """Each canvas exactly, a pixel more and less, half of it; shapes between; several."""
        named = [*((wide, high) for high, wide in layout.pinpoints), *map(tuple, self.sizes.small)]
        sizes = {
            "1x1": (1, 1),
            "thin": (1000, 3),
            "upright-thin": (3, 1000),
            "large": (5000, 3001),
            "rounded": (1009, 673),
            "337x336": (337, 336),
            "100x60": (100, 60),
            "prime": (997, 499),
            **by_size(self.sizes.one, self.sizes.few, self.sizes.many, *named),
            **{f"over-{w}x{h}": (w + 1, h) for w, h in named},
            **{f"under-{w}x{h}": (w, h - 1) for w, h in named},
            **{f"half-{w}x{h}": (w // 2, h // 2) for w, h in named},
        }
        one = "{}x{}".format(*self.sizes.one)
        together = ((one, "large"), ("700x360", one, "upright-thin"), ("1x1", "thin", "gray", one))
        return questions(sizes, together, gray=(300, 150), rgba=(150, 400))

    def hook_cases(self, layout: Any) -> Sequence[HookCase]:
        """Each picture of the questions, as its tiles say; then the sizes of the buffers.

        These must have room for the rows of any pictures with so many placeholders.
        """
        flows = self.alone(layout)
        side = layout.image_size
        cases = [
            HookCase(
                label=flow.name,
                tokens=flow.tokens,
                tower=flow.rows["encoder"],
                connector=flow.rows["connector"],
                shapes={"pixel_values": (flow.units, 3, side, side)},
            )
            for flow in {flow.size: flow for flow in flows}.values()
        ]
        for budget in (max(flow.tokens for flow in flows), 4096, 8192):
            rows = {
                kind: max(budget // flow.tokens * flow.rows[kind] for flow in flows)
                for kind in ("encoder", "connector")
            }
            label, counts = f"{budget} {BUDGET}", (rows["encoder"], rows["connector"])
            cases.append(
                HookCase(
                    label=label, tokens=budget, tower=counts[0], connector=counts[1], least=True
                )
            )
        return cases

    def predicted_rows(self, layout: Any, found: Sequence[Any]) -> tuple[str, ...]:
        """`buffers-sized-by-placeholders`: nothing but the buffers' sizes is wrong, and each is the
        number of placeholders."""
        short = bool(found) and all(
            BUDGET in one.where and f" {one.observed} {BUDGET}" in f" {one.where}" for one in found
        )
        return (SHORT_BUFFERS,) if short else ()


def _with_tiles(layout: Layout, flow: Flow, tiles: int) -> Flow:
    rows = {"encoder": tiles * layout.tile_rows, "connector": tiles * layout.side**2}
    return replace(flow, rows=rows, units=tiles)


FAMILY = LlavaNext()
