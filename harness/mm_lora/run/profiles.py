"""Profiles: where a run happens, as TOML data; every key is checked on reading."""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from mm_lora.core.errors import UsageError
from mm_lora.core.resources import fixtures_dir
from mm_lora.serving.server.spec import PlainValue

TRUTHS = ("arithmetic", "rows", "reference", "relations")
DTYPES = ("float32", "bfloat16", "float16")


@dataclass(frozen=True, kw_only=True)
class Needs:
    """What must be there before a server is started; 0 means nothing special."""

    gpus: int = 0
    gpu_memory_gb: int = 0
    download_gb: int = 0


@dataclass(frozen=True, kw_only=True)
class Profile:
    """Model, flags, dtype, tolerances (logprob) and time limits (seconds) of one place to run.

    `truths` are the independent truths that exist there; `select` are id patterns (empty: all).
    """

    name: str
    model: str
    dtype: str
    tolerance: float
    min_effect: float
    revision: str = ""
    truths: tuple[str, ...] = TRUTHS
    select: tuple[str, ...] = ()
    ready_timeout_s: float = 300.0
    request_timeout_s: float = 120.0
    flags: Mapping[str, PlainValue] = field(default_factory=dict)
    env: Mapping[str, str] = field(default_factory=dict)
    needs: Needs = Needs()

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
    try:
        data = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UsageError(
            f"no profile '{name_or_path}'",
            f"one of {', '.join(names())}, or the path of a .toml file",
        ) from None
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise UsageError(f"profile {path} cannot be read: {error}") from error
    return parse(data, str(path))


def parse(data: Mapping[str, Any], source: str) -> Profile:
    """Check every key and type of one profile. Raises UsageError naming `source` and the key."""
    _known_keys(data, {f.name for f in fields(Profile)}, source, "profile")
    needs = data.get("needs", {})
    _known_keys(needs, {f.name for f in fields(Needs)}, source, "[needs]")
    for key, kind in (("name", str), ("model", str), ("dtype", str)):
        if not isinstance(data.get(key), kind):
            raise UsageError(f"{source}: '{key}' must be a string")
    if data["dtype"] not in DTYPES:
        raise UsageError(f"{source}: no dtype '{data['dtype']}'", f"one of {', '.join(DTYPES)}")
    if not isinstance(data.get("revision", ""), str):
        raise UsageError(f"{source}: 'revision' must be a string")
    for key in ("truths", "select"):
        words = data.get(key, [])
        if not isinstance(words, list) or not all(isinstance(word, str) for word in words):
            raise UsageError(f"{source}: '{key}' must be a list of strings")
    for key, value in needs.items():
        if isinstance(value, bool) or not isinstance(value, int) or value < 0:
            raise UsageError(f"{source}: [needs] {key} must be a whole number")
    for table in ("flags", "env"):
        if not isinstance(data.get(table, {}), Mapping):
            raise UsageError(f"{source}: [{table}] must be a table")
    for key in ("tolerance", "min_effect", "ready_timeout_s", "request_timeout_s"):
        value = data.get(key, 1.0 if key.endswith("_s") else None)
        if isinstance(value, bool) or not isinstance(value, int | float) or not value > 0:
            raise UsageError(f"{source}: '{key}' must be a number above 0")
    unknown = set(data.get("truths", TRUTHS)) - set(TRUTHS)
    if unknown:
        raise UsageError(f"{source}: unknown truths {sorted(unknown)}", f"one of {list(TRUTHS)}")
    for key, value in data.get("env", {}).items():
        if not isinstance(value, str):
            raise UsageError(f"{source}: [env] {key} must be a string")
    for key, value in data.get("flags", {}).items():
        if key.startswith("-") or not isinstance(value, str | int | float | bool | list):
            raise UsageError(f"{source}: [flags] {key}: write the flag without dashes, value plain")
    settled = dict(data)
    settled["needs"] = Needs(**needs)
    settled["truths"] = tuple(data.get("truths", TRUTHS))
    settled["select"] = tuple(data.get("select", ()))
    return Profile(**settled)


def _known_keys(data: Any, known: set[str], source: str, where: str) -> None:
    if not isinstance(data, Mapping):
        raise UsageError(f"{source}: {where} must be a table")
    unknown = sorted(set(data) - known)
    if unknown:
        raise UsageError(
            f"{source}: unknown key {unknown[0]!r} in {where}", f"known: {sorted(known)}"
        )
