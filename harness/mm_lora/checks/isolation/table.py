"""The report's table of isolation: scenario × requests × batches seen × wrong answers."""

from mm_lora.checks.context import Context
from mm_lora.checks.isolation.traffic import Seen

COLUMNS = (
    "scenario",
    "requests",
    "encoder batches",
    "language batches",
    "decode + prefill",
    "read in pieces",
    "adapters at once",
    "wrong answers",
    "largest error",
)


def add_row(context: Context, scenario: str, seen: Seen) -> None:
    """One scenario's line. A batch is a step in which several tenants met (see Batches)."""
    table = context.run.tables.setdefault(
        "isolation",
        {
            "title": "Isolation: requests that met in a step, and answers that were not their own",
            "columns": list(COLUMNS),
            "rows": [],
        },
    )
    met = seen.batches
    table["rows"].append(
        [
            scenario,
            seen.requests,
            met.encoder,
            met.language,
            met.decoding,
            met.pieces,
            met.adapters,
            len(seen.wrong),
            f"{seen.error:.1e}",
        ]
    )
