"""How a picture is cut into tiles, for families that cut: drawn, and asked of the count hook."""

from mm_lora.families.flow import HookCase


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


def hook_cases(encoder_rows: int, connector_rows: int, most: int) -> list[HookCase]:
    """Every number of tiles up to `most`, each of so many rows; numbers that no picture has."""
    whole = [
        HookCase(
            label=f"{tiles} tiles",
            tokens=tiles * connector_rows,
            tower=tiles * encoder_rows,
            connector=tiles * connector_rows,
        )
        for tiles in range(1, most + 1)
    ]
    odd = (0, -1, -connector_rows, 1, connector_rows - 1, connector_rows + 1)
    return [*whole, *(HookCase(label=f"{n} image tokens", tokens=n) for n in odd)]
