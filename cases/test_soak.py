"""Soak: random traffic of every tenant from the run's seed, each answer as given alone.

`--set soak=MINUTES` for all servers together. A failure is stored in the run folder with its seed
and its last 100 requests, and `--set replay=FILE` sends the same again.
"""

from collections.abc import Iterable
from pathlib import Path

import pytest

from mm_lora.isolation import soak
from mm_lora.isolation.claims import settle
from mm_lora.isolation.servers import SERVERS, TENANTS, on
from mm_lora.isolation.traffic import Traffic
from mm_lora.judging import Judge
from mm_lora.lab import Lab
from mm_lora.options import soak_minutes
from mm_lora.served import Served


@pytest.mark.check(
    "soak/{model}/{server}", title="random traffic, {server}: every answer as when alone"
)
@pytest.mark.parametrize("server", [on(name) for name in SERVERS])
@pytest.mark.full
def test_soak(model: str, server: str, served: Served, check: Judge, lab: Lab) -> None:
    seed = f"{lab.options.seed}/{model}/{server}"
    planned: Iterable[soak.Wave] | None = soak.waves(seed, TENANTS)
    seconds = soak_minutes(lab.options.settings) * 60 / len(SERVERS)
    if "replay" in lab.options.settings:
        planned = soak.read(Path(lab.options.settings["replay"]), model, server)
        seconds = float("inf")
        if planned is None:
            pytest.skip("the stored traffic is of another model or server")
    seen, last = soak.run(Traffic(served, check.tolerance), planned, seconds)
    hint = soak.keep(lab.folder, model, server, seed, last) if seen.unforeseen else ""
    settle(check, lab, f"{model}/soak/{server}", seen, {"language": 1}, hint)
