"""The plugin that every vLLM process loads: reads its config, applies the patches, reports."""

import contextlib
import json
import os
import sys
import traceback
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

from . import fast_start, hooks, torchvision_schemas, turns, watchdog
from .registry import Patch, select
from .report import API_SERVER, ONE_PROCESS, WORKER_MODULES, Report

CONFIG_VARIABLE = "MM_LORA_INSIDE"
_registered_in = 0


def early() -> None:
    """Platform plugin: runs before transformers imports torchvision. Returns None: no platform."""
    torchvision_schemas.declare()
    if CONFIG_VARIABLE in os.environ:
        watchdog.start()


def register() -> None:
    """General plugin: apply the patches that the config names, and report. Once a process.

    vLLM logs and swallows what a plugin raises, so that everything goes into the report.
    """
    global _registered_in
    path = os.environ.get(CONFIG_VARIABLE)
    if not path or _registered_in == os.getpid():
        return
    _registered_in = os.getpid()
    watchdog.start()
    import vllm
    from vllm.platforms import current_platform

    version, platform = vllm.__version__, current_platform.device_type
    report = Report(Path(path).parent / "processes", version, platform)
    if report.role == API_SERVER:
        report.notes.update(fast_start.mode)
    try:
        config = json.loads(Path(path).read_text(encoding="utf-8"))
        judging = Path(path).with_name(turns.FILE)
        apply_patches(config["patches"], report, version, platform, judging)
        _install_probe(config.get("probe"), report)
    except Exception as error:
        traceback.print_exc()
        report.error(f"{type(error).__name__}: {error}")
    for name in WORKER_MODULES:
        hooks.when_imported(name, lambda _: report.write())
    hooks.when_imported(ONE_PROCESS, lambda module: _note_worker(module, report))
    report.write()


def _note_worker(module: ModuleType, report: Report) -> None:
    """Note when this process makes the worker in itself: a fast start has its modules anyway."""

    def make(original: Any) -> Any:
        def _init_executor(self: Any) -> Any:
            report.notes["made_worker"] = True
            report.write()
            return original(self)

        return _init_executor

    with contextlib.suppress(hooks.HookGone):  # then the worker is missed, and that is an error
        hooks.replace(module, "UniProcExecutor._init_executor", make)


def apply_patches(
    wanted: list[str], report: Report, version: str, platform: str, judging: Path = Path()
) -> None:
    """Hook every wanted patch to its modules; its row says applied, waiting or error.

    `judging`: the file that says which check is judged, for those that act in some only.
    """
    from .catalogue import PATCHES

    scopes = turns.scopes(wanted)
    for patch in select(wanted, PATCHES, version, platform):
        if patch.id in scopes:
            patch = patch.in_turn(turns.Turn(judging, scopes[patch.id]))
        row: dict[str, Any] = {"id": patch.id, "kind": patch.kind, "state": "waiting"}
        row["waiting_for"] = list(patch.modules)
        report.patches[patch.id] = row
        for name in patch.modules:
            if hooks.module_exists(name):
                hooks.when_imported(name, _Apply(patch, row, report))
            else:
                _failed(row, f"hook point {name} is gone: no such module")
    report.write()


class _Apply:
    """The action on one module of one patch: apply, note the outcome, report again."""

    def __init__(self, patch: Patch, row: dict[str, Any], report: Report) -> None:
        self._patch, self._row, self._report = patch, row, report

    def __call__(self, module: ModuleType) -> None:
        try:
            self._patch.apply(module)
        except hooks.HookGone as error:
            _failed(self._row, f"hook point {error} is gone")
        except Exception as error:
            _failed(self._row, f"{module.__name__}: {type(error).__name__}: {error}")
        else:
            self._row["waiting_for"].remove(module.__name__)
            if not self._row["waiting_for"] and self._row["state"] == "waiting":
                self._row["state"] = "applied"
        self._report.write()


def _failed(row: dict[str, Any], why: str) -> None:
    row["state"] = "error"
    row["error"] = why
    print(f"mm-lora: patch {row['id']}: {why}", file=sys.stderr)


def _install_probe(config: Mapping[str, Any] | None, report: Report) -> None:
    if config:
        from . import probe

        probe.install(dict(config), report)
