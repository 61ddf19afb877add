"""Profiles: where a run happens, as TOML data; every key is checked on reading."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

from msgspec import Meta

from mm_lora.core import typed
from mm_lora.core.errors import UsageError
from mm_lora.core.resources import fixtures_dir
from mm_lora.serving.server.spec import PlainValue

TRUTHS = ("arithmetic", "rows", "reference", "relations")
DTYPES = ("float32", "bfloat16", "float16")

Whole = Annotated[int, Meta(ge=0)]
Above0 = Annotated[float, Meta(gt=0)]


@dataclass(frozen=True, kw_only=True)
class Needs:
    """What must be there before a server is started; 0 means nothing special."""

    gpus: Whole = 0
    gpu_memory_gb: Whole = 0
    download_gb: Whole = 0


@dataclass(frozen=True, kw_only=True)
class Profile:
    """Model, flags, dtype, tolerances (logprob) and time limits (seconds) of one place to run.

    `truths` are the independent truths that exist there; `select` are id patterns (empty: all).
    """

    name: str
    model: str
    dtype: str
    tolerance: Above0
    min_effect: Above0
    revision: str = ""
    truths: tuple[str, ...] = TRUTHS
    select: tuple[str, ...] = ()
    ready_timeout_s: Above0 = 300.0
    request_timeout_s: Above0 = 120.0
    flags: Mapping[str, PlainValue] = field(default_factory=dict)
    env: Mapping[str, str] = field(default_factory=dict)
    needs: Needs = Needs()

    def __post_init__(self) -> None:
        """Raise ValueError for words that are not among those known."""
        if self.dtype not in DTYPES:
            raise ValueError(f"no dtype '{self.dtype}': one of {', '.join(DTYPES)}")
        if unknown := sorted(set(self.truths) - set(TRUTHS)):
            raise ValueError(f"unknown truths {unknown}: some of {', '.join(TRUTHS)}")
        for name in self.flags:
            if name.startswith("-"):
                raise ValueError(f"[flags] {name}: write the flag without dashes")

    @property
    def same(self) -> float:
        """How far two answers to one question may be apart, in logprob: in 16 bits another cache
        state or batch moves the last bits of every layer, in fp32 next to nothing."""
        return self.tolerance / 100 if self.dtype == "float32" else self.tolerance

    @property
    def platform(self) -> str:
        """gpu or cpu, as known_defects.toml says it."""
        return "gpu" if self.needs.gpus else "cpu"


def names() -> list[str]:
    """The profiles that ship with the project."""
    return sorted(path.stem for path in (fixtures_dir() / "profiles").glob("*.toml"))


def load(name_or_path: str) -> Profile:
    """The shipped profile of that name, or the user's own TOML file. Raises UsageError."""
    path = Path(name_or_path)
    if path.suffix != ".toml":
        path = fixtures_dir() / "profiles" / f"{name_or_path}.toml"
    if not path.is_file():
        raise UsageError(
            f"no profile '{name_or_path}'",
            f"one of {', '.join(names())}, or the path of a .toml file",
        )
    return typed.read_toml(path, Profile)
