"""The run as a check sees it: models, builds, servers, the reference, and where to note things."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from mm_lora.adapters.built import BuiltAdapter
from mm_lora.core.asking import Request
from mm_lora.core.record import Run
from mm_lora.core.run_folder import RunFolder
from mm_lora.core.table import Column, Table

if TYPE_CHECKING:
    from mm_lora.core.progress import Progress
    from mm_lora.families.family import Family
    from mm_lora.families.models import Model
    from mm_lora.serving.asker import Asker
    from mm_lora.serving.hook_client import HookAnswers, HookQuestion
    from mm_lora.serving.pool import ServerPool
    from mm_lora.serving.served_vllm import ServedVllm
    from mm_lora.truth.reference import Forced, Reference
    from mm_lora.truth.worker_client import WorkerClient


@dataclass(frozen=True, kw_only=True)
class Upcoming:
    """What a check will ask the reference: an adapter's name ("" for the base) and a request."""

    model: str
    adapter: str
    request: Request
    predict: bool = False


class Settings(Protocol):
    """The rarer switches of a run that its checks read."""

    @property
    def soak_minutes(self) -> float:
        """How long all soak checks together send traffic."""
        ...

    @property
    def replay(self) -> Path | None:
        """The stored traffic that is sent again."""
        ...


class Context(Protocol):
    """One run; `mm_lora.run.context` is it, unit tests may bring another."""

    run: Run
    folder: RunFolder
    progress: "Progress"
    pool: "ServerPool"
    asker: "Asker"
    server_python: Path

    @property
    def seed(self) -> int:
        """Of weights, adapters and random traffic."""
        ...

    @property
    def settings(self) -> Settings:
        """The rarer switches of the run."""
        ...

    @property
    def is_remote(self) -> bool:
        """Whether the server runs already, and is known by its answers alone."""
        ...

    @property
    def vllm(self) -> "ServedVllm":
        """The vLLM that is served."""
        ...

    def ask_class(self, family: "Family", questions: "Sequence[HookQuestion]") -> "HookAnswers":
        """What a family's class in vLLM says of configs, without weights or a server."""
        ...

    @property
    def worker(self) -> "WorkerClient":
        """The process with torch."""
        ...

    @property
    def reference(self) -> "Reference":
        """transformers with adapters merged."""
        ...

    @property
    def has_reference(self) -> bool:
        """Whether this profile has one."""
        ...

    @property
    def picture_tokens(self) -> int:
        """The most tokens that one request's pictures may take."""
        ...

    def model(self, name: str) -> "Model":
        """The model that checks call `name`."""
        ...

    def checkpoint(self, model: str) -> Path:
        """The folder that is served as `model`."""
        ...

    def miniature(self, model: str) -> Path:
        """The miniature of a published model, whatever is served."""
        ...

    def adapters(self, model: str, names: tuple[str, ...]) -> Mapping[str, BuiltAdapter]:
        """Adapters of that model, built."""
        ...

    def forced(
        self,
        model: str,
        adapter: str,
        request: Request,
        *,
        token_ids: tuple[int, ...] | None = None,
        predict: bool = False,
        peft: bool = False,
    ) -> "Forced":
        """The reference's numbers for one answer; raises NotApplicable where there is none."""
        ...

    def table(
        self, name: str, title: str, columns: Sequence[Column | str], *, brief: bool = True
    ) -> Table:
        """The report's table of that name, to be added to; it takes raw numbers."""
        ...
