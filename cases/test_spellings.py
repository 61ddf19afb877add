"""Keys as trainers and exporters spell them: applied or refused, and never the base in silence."""

import pytest

from mm_lora.adapters.spellings import SPELLINGS, spelled_name, spellings
from mm_lora.checks.applied import applied_or_refused
from mm_lora.checks.context import Context
from mm_lora.checks.judging import Judge
from mm_lora.checks.running import Served
from mm_lora.families.family import Family

pytestmark = [pytest.mark.truth("reference"), pytest.mark.full]

REFUSAL = r"module|lora_|target|key|base_model"


def every_spelling(family: Family) -> list[tuple[str, str, str]]:
    return [(spelling, group, SPELLINGS[spelling].writer) for spelling, group in spellings(family)]


@pytest.mark.check(
    "spellings/{model}/{spelling}/{group}",
    title="{group} with the keys of {writer} is applied, or refused with a clear reason",
)
@pytest.mark.server
@pytest.mark.each(("spelling", "group", "writer"), every_spelling)
def test_spelling(
    model: str,
    spelling: str,
    group: str,
    writer: str,
    served: Served,
    check: Judge,
    context: Context,
) -> None:
    adapter = spelled_name(group, spelling)
    applied_or_refused(served, check, context, adapter, twin=group, refusal=REFUSAL)
