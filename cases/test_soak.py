"""Soak: random traffic of every tenant, from the run's seed; each answer equals the one alone.

`--set soak=MINUTES` for all servers together. A failure is stored in the run folder with its seed
and its last 100 requests, and `--set replay=FILE` sends the same again.
"""

from collections.abc import Iterable

import pytest

from mm_lora.checks.context import Context
from mm_lora.checks.isolation import soak
from mm_lora.checks.isolation.claims import judge_scenario
from mm_lora.checks.isolation.servers import SERVERS, on
from mm_lora.checks.isolation.traffic import Traffic
from mm_lora.checks.judging import Judge
from mm_lora.checks.roles import tenants
from mm_lora.checks.running import Served


@pytest.mark.check(
    "soak/{model}/{server}", title="random traffic is answered as each request is alone ({server})"
)
@pytest.mark.parametrize("server", [on(name) for name in SERVERS])
@pytest.mark.full
def test_soak(model: str, server: str, served: Served, check: Judge, context: Context) -> None:
    seed = f"{context.seed}/{model}/{server}"
    planned: Iterable[soak.Wave] | None = soak.waves(served.family, seed, tenants(served.family))
    seconds = context.settings.soak_minutes * 60 / len(SERVERS)
    if context.settings.replay is not None:
        planned = soak.read(context.settings.replay, model, server)
        seconds = float("inf")
        if planned is None:
            pytest.skip("the stored traffic is of another model or server")
    seen, last = soak.run(Traffic(served, check.tolerance), planned, seconds)
    hint = soak.keep(context.folder, model, server, seed, last) if seen.unexplained else ""
    judge_scenario(check, context, f"{model}/soak/{server}", seen, {"language": 1}, hint)
