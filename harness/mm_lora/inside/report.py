"""What one vLLM process tells the harness about itself: a small file, replaced atomically."""

import contextlib
import json
import multiprocessing
import os
import sys
from pathlib import Path
from typing import Any

API_SERVER, ENGINE_CORE, WORKER, OTHER = "api-server", "engine-core", "worker", "other"
_API_MODULES = ("vllm.entrypoints.openai.api_server", "fast_start", "cradle")
# A worker lives in the engine core's process where one GPU is enough (UniProcExecutor).
WORKER_MODULES = ("vllm.v1.worker.gpu_worker", "vllm.v1.worker.cpu_worker")

ONE_PROCESS = "vllm.v1.executor.uniproc_executor"


def role() -> str:
    """What this process is to vLLM, from multiprocessing's name of it or from its command line."""
    name = multiprocessing.current_process().name
    if name.startswith("EngineCore"):
        return ENGINE_CORE
    if name.startswith(("VllmWorker", "Worker")):
        return WORKER
    if name.startswith("ApiServer"):
        return API_SERVER
    command = sys.orig_argv
    if name == "MainProcess" and any(word.endswith(_API_MODULES) for word in command):
        return API_SERVER
    return OTHER


class Report:
    """Rows by patch id, and notes by name (the probe adds its own); `write` never raises."""

    def __init__(self, folder: Path, vllm_version: str, platform: str) -> None:
        self.pid = os.getpid()
        self.role = role()
        self.patches: dict[str, dict[str, Any]] = {}
        self.notes: dict[str, Any] = {}
        self._path = folder / f"{self.role}-{self.pid}.json"
        self._vllm = {"vllm": vllm_version, "platform": platform}

    def error(self, text: str) -> None:
        """Note that this process is not as the harness wants it, and say it at once."""
        self.notes.setdefault("error", text)
        print(f"mm-lora: {text}", file=sys.stderr)
        self.write()

    def write(self) -> None:
        """Replace the file. A full disk never kills vLLM: the harness misses the report instead."""
        content = {
            "role": self.role,
            "pid": self.pid,
            "parent": os.getppid(),
            **self._vllm,
            "holds_worker": any(name in sys.modules for name in WORKER_MODULES),
            "patches": list(self.patches.values()),
            **self.notes,
        }
        temporary = self._path.with_suffix(f".{os.getpid()}.tmp")
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            temporary.write_text(json.dumps(content), encoding="utf-8")
            os.replace(temporary, self._path)
        except OSError as error:
            print(
                f"mm-lora: no report of {self.role} {self.pid}: {error}",
                file=sys.stderr,
            )
            with contextlib.suppress(OSError):
                temporary.unlink(missing_ok=True)
