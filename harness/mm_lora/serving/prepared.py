"""Everything that a server starts with, except its folder: the same for every command."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from mm_lora.serving.server.cradle import Cradles
from mm_lora.serving.server.process import VllmServer
from mm_lora.serving.server.spec import ServerSpec


@dataclass(frozen=True, kw_only=True)
class Prepared:
    """The spec made to fit this vLLM, and the files that the server reads.

    `search`: folders in front of PYTHONPATH. `repository`: named in place of the checkpoint.
    """

    spec: ServerSpec
    python: Path
    checkpoint: Path
    adapters: Mapping[str, Path]
    search: tuple[Path, ...] = ()
    repository: str = ""
    ready_timeout_s: float = 300.0
    port: int | None = None

    def server(
        self,
        folder: Path,
        say: Callable[[str], None] | None = None,
        cradles: Cradles | None = None,
    ) -> VllmServer:
        """The server, not started, that runs in `folder`; to be forked where `cradles` can."""
        return VllmServer(
            self.spec,
            python=self.python,
            checkpoint=self.checkpoint,
            adapters=self.adapters,
            folder=folder,
            repository=self.repository,
            ready_timeout_s=self.ready_timeout_s,
            port=self.port,
            search=self.search,
            say=say,
            cradles=cradles,
        )
