"""What a run would start and judge, exactly, without starting it: `verify --dry-run`.

RUN stands for the run's folder, TMP for a temporary one, PORT for a free port, as a run makes them.
"""

import os
import shlex
from collections.abc import Iterator, Sequence
from pathlib import Path

from mm_lora.core import hub_cache
from mm_lora.core.skips import NotApplicable
from mm_lora.run import costs
from mm_lora.run.builds import Builds, Places
from mm_lora.run.inputs import Inputs
from mm_lora.run.plan import Plan, Planned
from mm_lora.run.profiles import Profile
from mm_lora.run.recipe import recipe
from mm_lora.run.tolerances import is_measured
from mm_lora.serving.server.command import build_command, build_environment
from mm_lora.serving.server.spec import FlagValue, ServerSpec

RUN, TEMPORARY, PORT = Path("RUN"), Path("TMP"), "PORT"


class DryRun:
    """Prints a plan. Raises what would keep the run from starting: no vLLM, no feature."""

    def __init__(self, inputs: Inputs, builds: Builds) -> None:
        self.inputs = inputs
        self.profile = inputs.profile
        self.builds = builds

    def lines(self, plan: Plan) -> Iterator[str]:
        """The whole of it, line by line."""
        yield f"profile {self.profile.name}: {len(plan.checks)} checks, {len(plan.specs)} servers"
        yield from self._needs(plan)
        without = [check for check in plan.checks if check.id not in plan.servers]
        yield from _checks("without a server", without)
        if url := self.inputs.options.base_url:
            yield f"server: {url}, which runs already"
            yield from _checks("on it", [c for c in plan.checks if c.id in plan.servers])
        elif plan.specs:
            yield from self.builds.vllm.news()
            for number, spec in enumerate(plan.specs, 1):
                yield from self._server(number, spec)
                mine = [c for c in plan.checks if plan.servers.get(c.id) == spec]
                yield from _checks(f"on server {number}", mine)
        yield from expected_time(self.profile, plan)

    def _needs(self, plan: Plan) -> Iterator[str]:
        needs = self.profile.needs
        if needs.gpus:
            yield f"needs: {needs.gpus} GPUs of {needs.gpu_memory_gb} GB on this machine"
        for name in dict.fromkeys(spec.model for spec in plan.specs):
            model = self.inputs.model(name)
            if model.repository:
                there = model.weights is not None
                size = "on this disk" if there else f"about {needs.download_gb} GB to download"
                yield f"weights: {model.repository}, {size} ({hub_cache.cache_folder()})"

    def _server(self, number: int, spec: ServerSpec) -> Iterator[str]:
        yield ""
        yield f"server {number}: {spec.label}" + (", rows recorded" if spec.probe else "")
        try:
            made = recipe(spec, self.inputs, self.builds.vllm, Places(self.builds), RUN)
        except NotApplicable as error:
            yield f"  not started: {error.what}"
            return
        prepared = made.prepared
        folder = RUN / "servers" / f"{number}-{spec.label}"
        command = build_command(
            prepared.spec,
            python=prepared.python,
            checkpoint=prepared.repository or prepared.checkpoint,
            adapters=prepared.adapters,
            port=prepared.port or PORT,
            fast=spec.start != "plain",
        )
        environment = build_environment(
            prepared.spec,
            caller=os.environ,
            plugin_folder=folder / "plugin",
            config=folder / "inside.json",
            working_folder=Path.cwd(),
            temporary=TEMPORARY,
            search=prepared.search,
        )
        yield f"  patches: {', '.join(prepared.spec.patches)}"
        for name, value in made.left_out.items():
            yield f"  left out, this vLLM has no such flag: --{name} {shown(value)}".rstrip()
        for name, path in prepared.adapters.items():
            built = "there" if path.is_dir() else "to be built"
            yield f"  adapter {name}: {path} ({built})"
        yield "  environment:"
        yield from (f"    {key}={shlex.quote(value)}" for key, value in environment.items())
        yield f"  command: {shlex.join(command)}"


def shown(value: FlagValue) -> str:
    """A flag's value in words."""
    return value if isinstance(value, str) else " ".join(value or ())


def _checks(where: str, checks: Sequence[Planned]) -> Iterator[str]:
    if checks:
        yield f"{len(checks)} checks {where}:"
    for check in checks:
        yield f"  {check.id}\t{check.skip or check.title}"


def expected_time(profile: Profile, plan: Plan) -> Iterator[str]:
    """What such checks took where they were measured; never a promise for another machine."""
    known = costs.read()
    judged = [check for check in plan.checks if not check.skip]
    checks = sum(known.seconds.get(check.id.partition("/")[0], 1.0) for check in judged)
    start = known.server_ready_s + (known.noise_s if is_measured(profile) else 0.0)
    total = start * len(plan.specs) + checks
    yield ""
    yield (
        f"expected time: {total:.0f} s on {known.machine}: {len(plan.specs)} starts of "
        f"{start:.0f} s{', noise measured' if is_measured(profile) else ''}, "
        f"{len(judged)} checks {checks:.0f} s"
    )
    if profile.needs.gpus:
        yield (
            "  On GPUs nothing was measured: there the weights are read anew for each server, and "
            "CUDA graphs captured; the number of requests is that of profile rehearsal."
        )
