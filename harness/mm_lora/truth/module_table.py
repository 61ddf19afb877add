"""The modules of a model that an adapter can target, with their sizes; kept, since torch is slow.

No weights: transformers' model is made on the meta device, by a process that has torch.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mm_lora.core.cache import Values, content_key, source_key
from mm_lora.families.models import Model
from mm_lora.truth.worker_client import WorkerClient

_PACKAGE = Path(__file__).resolve().parents[1]
_SOURCES = ("truth/worker/linear_modules.py", "families/torch_side.py")


@dataclass(frozen=True)
class ModuleTable:
    """`sizes`: PEFT path → (inputs, outputs), (0, 0) for what is no linear module. `own`: path as
    the newest transformers names it → PEFT path, where the two differ."""

    sizes: Mapping[str, tuple[int, int]]
    own: Mapping[str, str]


Tables = Callable[[Model], ModuleTable]
"""Gives a model's table."""


@contextmanager
def tables(python: Path, say: Callable[[str], None]) -> Iterator[Tables]:
    """A source of tables that starts one worker in `python`, if it must.

    Raises BuildError where transformers cannot make the model.
    """
    with WorkerClient(python, say) as worker:
        yield lambda model: of_model(model, worker)


def of_model(model: Model, worker: WorkerClient) -> ModuleTable:
    """The table of a model at its published size."""
    config = {k: v for k, v in model.config.items() if k != "quantization_config"}
    return of_config(model.family.torch_side, config, model.family.sources, worker)


def of_config(
    side: str, config: Mapping[str, Any], sources: tuple[str, ...], worker: WorkerClient
) -> ModuleTable:
    """The table of a config.json's content; `sources`: files of its family."""
    builder = source_key(*(_PACKAGE / one for one in (*_SOURCES, *sources)))
    key = content_key({"side": side, "config": config, "builder": builder})
    kept = Values("modules", dict[str, list[dict[str, Any]]])
    answer = kept.read(key)
    if answer is None:
        answer = worker.call("linear-modules", side=side, config=dict(config))
        kept.write(key, answer)
    rows = answer["modules"]
    return ModuleTable(
        sizes={row["saved"]: _size(row["shape"]) for row in rows},
        own={row["path"]: row["saved"] for row in rows if row["path"] != row["saved"]},
    )


def _size(shape: list[int]) -> tuple[int, int]:
    return (shape[1], shape[0]) if len(shape) == 2 else (0, 0)
