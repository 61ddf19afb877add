"""Where a run's time went, as a table of its report: by kind of work, in the order of the clock."""

from mm_lora.core.table import Column, Kind, Tables
from mm_lora.core.timings import TIME_SPENT, Timings

TITLE = (
    "Where the time went: the sum of each kind of work, and how much of the run's clock it took; "
    "kinds overlap"
)
COLUMNS = (
    "work",
    Column("times", Kind.COUNT),
    Column("seconds", Kind.SECONDS),
    Column("of the clock", Kind.SECONDS),
)
REST = "judging, and all else"


def note(tables: Tables, timings: Timings) -> None:
    """Write the table anew. "the server's own time" is a part of the answers' time: what is left
    of it is the client, the network and waiting for a turn."""
    table = tables.named(TIME_SPENT, TITLE, COLUMNS)
    rows: list[tuple[str | int | float | None, ...]] = [
        (part, total.times, round(total.seconds, 1), round(total.clock_s, 1) or None)
        for part, total in timings.totals().items()
    ]
    for place, row in enumerate([*rows, (REST, None, None, round(timings.unnoted_s(), 1))]):
        table.put(place, row)
