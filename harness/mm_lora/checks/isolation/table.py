"""The report's table of isolation: scenario × requests × batches seen × wrong answers."""

from mm_lora.checks.context import Context
from mm_lora.checks.isolation.traffic import Seen
from mm_lora.core.table import Column, Kind

TITLE = "Isolation: requests that met in a step, and answers that were not their own"
COLUMNS = (
    "scenario",
    Column("requests", Kind.COUNT),
    Column("encoder batches", Kind.COUNT),
    Column("language batches", Kind.COUNT),
    Column("decode + prefill", Kind.COUNT),
    Column("read in pieces", Kind.COUNT),
    Column("adapters at once", Kind.COUNT),
    Column("wrong answers", Kind.COUNT),
    Column("largest error", Kind.DIFFERENCE),
)


def add_row(context: Context, scenario: str, seen: Seen) -> None:
    """One scenario's line. A batch is a step in which several tenants met (see Batches)."""
    met = seen.batches
    context.table("isolation", TITLE, COLUMNS).add(
        scenario,
        seen.requests,
        met.encoder,
        met.language,
        met.decoding,
        met.pieces,
        met.adapters,
        len(seen.wrong),
        seen.error,
    )
