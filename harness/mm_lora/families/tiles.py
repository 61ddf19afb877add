"""Draws how a picture is cut into tiles, for families that cut."""


def drawing(rows: int, columns: int, *, whole: bool) -> str:
    """The tiles as boxes, `columns` across and `rows` down, the global tile (G) beside them.

    A numbered box is a tile, in the order in which the tower sees them; G comes last, `whole`:
    whether there is one.
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
