"""The less common settings of a run, `--set key=value`, each declared and checked once."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from mm_lora.adapters import broken as adapters_broken
from mm_lora.core.errors import UsageError
from mm_lora.inside.catalogue import PATCHES
from mm_lora.run import shards
from mm_lora.run.shards import Shard
from mm_lora.serving.server.spec import STARTS

FEATURE_CHOICES = ("auto", "none", "feature")


@dataclass(frozen=True)
class _Switch:
    """How a setting is told: its text for people, and its value from and to a word."""

    help: str
    read: Callable[[str], Any]
    spell: Callable[[Any], str]
    key: str = ""


def _told(
    text: str, read: Callable[[str], Any], *, spell: Callable[[Any], str] = str, key: str = ""
) -> Mapping[str, Any]:
    return {"switch": _Switch(text, read, spell, key)}


def _one_of(key: str, choices: Iterable[str]) -> Callable[[str], str]:
    def read(text: str) -> str:
        if text not in choices:
            raise UsageError(f"--set {key}={text} is not known", f"one of {', '.join(choices)}")
        return text

    return read


def _number(key: str, below: float, what: str, check: str) -> Callable[[str], float]:
    """A number above 0 and under `below`."""

    def read(text: str) -> float:
        try:
            number = float(text)
        except ValueError:
            number = 0.0
        if not 0 < number < below:
            raise UsageError(f"--set {key}={text} is not {what}", check)
        return number

    return read


def _file(key: str, check: str = "") -> Callable[[str], Path]:
    def read(text: str) -> Path:
        if not Path(text).is_file():
            raise UsageError(f"--set {key}={text}: no such file", check)
        return Path(text)

    return read


def _plain(number: float) -> str:
    """4 rather than 4.0; every digit that there is."""
    return repr(number).removesuffix(".0")


def _port(text: str) -> int:
    if not text.isdigit() or not 0 < int(text) < 65536:
        raise UsageError(f"--set port={text} is not a port", "a whole number from 1 to 65535")
    return int(text)


def _mutants(text: str) -> tuple[str, ...]:
    wanted = tuple(filter(None, text.split(",")))
    known = sorted(patch.id for patch in PATCHES if patch.kind == "mutant")
    for word in wanted:
        identity = word.partition("@")[0]
        if identity not in known:
            raise UsageError(f"no mutant '{identity}'", f"one of {', '.join(known)}")
    if not wanted:
        raise UsageError("--set mutant= names no mutant", f"one of {', '.join(known)}")
    return wanted


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What `--set` can say; None where nothing is said. `broken`: an adapter and how."""

    start: str = field(
        default="auto",
        metadata=_told(
            "auto | plain | fast: how the server process starts (docs: ARCHITECTURE.md)",
            _one_of("start", STARTS),
        ),
    )
    port: int | None = field(
        default=None, metadata=_told("a port for the only server instead of a free one", _port)
    )
    broken: tuple[str, str] | None = field(
        default=None,
        metadata=_told(
            "ADAPTER:alpha|zero-b|nudge|prefix|empty: serve a broken copy, to see the checks fail",
            adapters_broken.parse,
            spell=":".join,
            key="break",
        ),
    )
    mutant: tuple[str, ...] = field(
        default=(),
        metadata=_told(
            "ID[@CHECK][,…]: seed a defect in the server, to see the checks fail; with a CHECK "
            "pattern it acts only while such a check is judged: several share a server",
            _mutants,
            spell=",".join,
        ),
    )
    shard: Shard | None = field(
        default=None,
        metadata=_told(
            "I/N: this part of the checks, whole servers at a time (`mm-lora report merge`)",
            shards.parse,
        ),
    )
    patch: str | None = field(
        default=None,
        metadata=_told(
            "auto | none | feature: bring tower/connector LoRA where vLLM lacks it, "
            "never, or in any case",
            _one_of("patch", FEATURE_CHOICES),
        ),
    )
    vllm_patch: Path | None = field(
        default=None,
        metadata=_told(
            "FILE.diff: serve a copy of the installed vLLM with this diff in it",
            _file("vllm-patch"),
        ),
    )
    strength: float = field(
        default=1.0,
        metadata=_told(
            "FACTOR: synthetic adapters so many times stronger, where a check is void",
            _number("strength", 1e4, "a factor", "a number above 0, for example 4"),
            spell=_plain,
        ),
    )
    soak: float | None = field(
        default=None,
        metadata=_told(
            "MINUTES of random traffic over all soak checks (1 with --full)",
            _number("soak", 1e6, "a time", "minutes, a number above 0"),
            spell=_plain,
        ),
    )
    replay: Path | None = field(
        default=None,
        metadata=_told(
            "FILE that a failed soak check left in its run folder: the same traffic again",
            _file("replay", "the run's folder"),
        ),
    )

    @property
    def soak_minutes(self) -> float:
        """How long all soak checks together send traffic."""
        return 1.0 if self.soak is None else self.soak

    @property
    def scopes(self) -> tuple[str, ...]:
        """Patterns of the checks to which a mutant is bound (`ID@CHECK`)."""
        return tuple(scope for word in self.mutant if (scope := word.partition("@")[2]))

    @property
    def seeds_a_defect(self) -> bool:
        """Whether what is served was made wrong, or another, on purpose."""
        return bool(self.broken or self.mutant or self.vllm_patch)

    def words(self) -> dict[str, str]:
        """Key → value of every setting that is not the default; `settings_of` reads them back."""
        found = {}
        for key, name in _names().items():
            value, switch = getattr(self, name), _switch(name)
            if value != _defaults()[name]:
                found[key] = switch.spell(value)
        return found


def settings_of(words: Iterable[str]) -> Settings:
    """`key=value` words, the last of a key counts. UsageError for any that cannot be used."""
    told: dict[str, Any] = {}
    for word in words:
        key, equals, value = word.partition("=")
        name = _names().get(key)
        if not equals or name is None:
            known = "; ".join(f"{key} = {_switch(name).help}" for key, name in _names().items())
            raise UsageError(f"--set '{word}' is not known", f"key=value with {known}")
        told[name] = _switch(name).read(value)
    return Settings(**told)


def _names() -> dict[str, str]:
    """Key of the command line → field."""
    return {f.metadata["switch"].key or f.name.replace("_", "-"): f.name for f in fields(Settings)}


def _switch(name: str) -> _Switch:
    (found,) = (f.metadata["switch"] for f in fields(Settings) if f.name == name)
    switch: _Switch = found
    return switch


def _defaults() -> dict[str, Any]:
    return {f.name: f.default for f in fields(Settings)}
