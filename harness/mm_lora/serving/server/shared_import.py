"""What is forked beside the servers of a run, and the import of vLLM that they share."""

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from mm_lora.serving.server.child import Child, started
from mm_lora.serving.server.command import build_environment
from mm_lora.serving.server.cradle import Cradles
from mm_lora.serving.server.inside_folder import write_config, write_plugin_folder
from mm_lora.serving.server.spec import ServerSpec


def begin_import(
    spec: ServerSpec, python: Path, search: Sequence[Path], folder: Path, cradles: Cradles
) -> None:
    """Begin to import vLLM for a server of `spec`, in the new `folder`; returns at once.

    What the server reads is built meanwhile. `search`: folders in front of PYTHONPATH.
    """
    folder.mkdir(parents=True)
    log = folder / "cradle.log"
    log.touch()
    environment = _environment(spec, search, write_plugin_folder(folder / "plugin"), folder)
    cradles.begin(Path(os.path.abspath(python)), environment, log)


def beside(
    spec: ServerSpec, search: Sequence[Path], cradles: Cradles
) -> Callable[[Sequence[str], Path, Path], Child]:
    """Starts a module of ours with the environment of a server of `spec`, so that they share one
    import of vLLM, whichever comes first. The folder that it is given must outlive the cradle."""

    def launch(command: Sequence[str], plugin: Path, log: Path) -> Child:
        environment = _environment(spec, search, plugin, log.parent)
        return cradles.fork(command, environment, log) or started(command, environment, log, ())

    return launch


def _environment(
    spec: ServerSpec, search: Sequence[Path], plugin: Path, folder: Path
) -> Mapping[str, str]:
    config = folder / "inside.json"
    write_config(config, {"patches": [], "probe": None, "start": spec.start})
    changes = build_environment(
        spec,
        caller=os.environ,
        plugin_folder=plugin,
        config=config,
        working_folder=Path.cwd(),
        temporary=folder,
        search=search,
    )
    return {**os.environ, **changes}
