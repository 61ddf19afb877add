"""Reads what a run's folder holds beside its report: the steps that the servers' probes saw."""

from dataclasses import dataclass
from pathlib import Path

from mm_lora.core.errors import MmLoraError
from mm_lora.core.report import Report
from mm_lora.serving.probe import Probe
from mm_lora.serving.probe_records import Step


@dataclass(frozen=True)
class ServerSteps:
    """The steps of one server's first worker, in order; with several ranks all have the same."""

    label: str
    steps: tuple[Step, ...]


def read(folder: Path, report: Report) -> tuple[ServerSteps, ...]:
    """One for each server whose record is there and readable; a merged run's is elsewhere."""
    found = []
    for server in report.servers:
        probe = (folder / server.log).parent / "probe"
        if not server.log or not probe.is_dir():
            continue
        try:
            steps = Probe(probe).since().steps
        except MmLoraError:  # an older mm-lora's record, or one of a server that never wrapped
            continue
        mine = tuple(step for step in steps if step.worker == steps[0].worker)
        if mine:
            found.append(ServerSteps(server.label, mine))
    return tuple(found)
