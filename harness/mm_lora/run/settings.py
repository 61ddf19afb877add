"""The less common settings of a run, `--set key=value`, each declared and checked once."""

import difflib
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
    """How a setting is told: its text for people, and its value from and to a word.

    `takes`: its type in words; `example`: a value; `unset`: what happens where nothing is said, if
    the default itself does not say it.
    """

    help: str
    read: Callable[[str], Any]
    takes: str
    example: str
    unset: str = ""
    spell: Callable[[Any], str] = str
    key: str = ""


def _told(text: str, read: Callable[[str], Any], **more: Any) -> Mapping[str, Any]:
    return {"switch": _Switch(text, read, **more)}


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
            "how the server starts: its processes fork with vLLM imported (fast), as vLLM starts "
            "them itself (plain), or fast where that works (auto)",
            _one_of("start", STARTS),
            takes=" | ".join(STARTS),
            example="plain",
        ),
    )
    port: int | None = field(
        default=None,
        metadata=_told(
            "the port of the only server",
            _port,
            takes="PORT",
            example="8000",
            unset="a free one",
        ),
    )
    broken: tuple[str, str] | None = field(
        default=None,
        metadata=_told(
            "serve a broken copy of this adapter, to see the checks fail",
            adapters_broken.parse,
            takes=f"ADAPTER:{'|'.join(adapters_broken.KINDS)}",
            example="projector:alpha",
            unset="none",
            spell=":".join,
            key="break",
        ),
    )
    mutant: tuple[str, ...] = field(
        default=(),
        metadata=_told(
            "seed a defect in the server, to see the checks fail; with a CHECK pattern it acts "
            "only while such a check is judged, so that several share a server",
            _mutants,
            takes="ID[@CHECK][,…]",
            example="mutant-silent-rows",
            unset="none",
            spell=",".join,
        ),
    )
    shard: Shard | None = field(
        default=None,
        metadata=_told(
            "this part of the checks, whole servers at a time; `mm-lora report merge` joins them",
            shards.parse,
            takes="I/N",
            example="1/3",
            unset="all checks",
        ),
    )
    patch: str | None = field(
        default=None,
        metadata=_told(
            "bring tower and connector LoRA where vLLM lacks it (auto), never (none), or in any "
            "case (feature)",
            _one_of("patch", FEATURE_CHOICES),
            takes=" | ".join(FEATURE_CHOICES),
            example="none",
            unset=FEATURE_CHOICES[0],
        ),
    )
    vllm_patch: Path | None = field(
        default=None,
        metadata=_told(
            "serve a copy of the installed vLLM with this diff in it",
            _file("vllm-patch"),
            takes="FILE",
            example="pr.diff",
            unset="none",
        ),
    )
    strength: float = field(
        default=1.0,
        metadata=_told(
            "synthetic adapters so many times stronger, where a check is void",
            _number("strength", 1e4, "a factor", "a number above 0, for example 4"),
            takes="FACTOR",
            example="4",
            spell=_plain,
        ),
    )
    soak: float | None = field(
        default=None,
        metadata=_told(
            "so many minutes of random traffic over all soak checks",
            _number("soak", 1e6, "a time", "minutes, a number above 0"),
            takes="MINUTES",
            example="5",
            unset="1 with --full, else none",
            spell=_plain,
        ),
    )
    replay: Path | None = field(
        default=None,
        metadata=_told(
            "a file that a failed soak check left in its run's folder: the same traffic again",
            _file("replay", "the run's folder"),
            takes="FILE",
            example="traffic.json",
            unset="new traffic",
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


@dataclass(frozen=True, kw_only=True)
class Listed:
    """A setting as `mm-lora settings` shows it. `type`: what its value looks like."""

    key: str
    type: str
    default: str
    example: str
    meaning: str


def listing() -> list[Listed]:
    """Every setting, in the order of their declarations."""
    found = []
    for key, name in _names().items():
        switch = _switch(name)
        found.append(
            Listed(
                key=key,
                type=switch.takes,
                default=switch.unset or switch.spell(_defaults()[name]),
                example=f"--set {key}={switch.example}",
                meaning=switch.help,
            )
        )
    return found


def settings_of(words: Iterable[str]) -> Settings:
    """`key=value` words, the last of a key counts. UsageError for any that cannot be used."""
    told: dict[str, Any] = {}
    for word in words:
        key, equals, value = word.partition("=")
        name = _names().get(key)
        if name is None:
            raise UsageError(f"--set '{word}' is not known", _instead(key))
        switch = _switch(name)
        if not equals:
            raise UsageError(f"--set '{word}' has no value", f"--set {key}={switch.example}")
        told[name] = switch.read(value)
    return Settings(**told)


def _instead(key: str) -> str:
    near = difflib.get_close_matches(key, _names(), n=1)
    return "".join(f"is it {one}? " for one in near) + "`mm-lora settings` lists all keys"


def _names() -> dict[str, str]:
    """Key of the command line → field."""
    return {f.metadata["switch"].key or f.name.replace("_", "-"): f.name for f in fields(Settings)}


def _switch(name: str) -> _Switch:
    (found,) = (f.metadata["switch"] for f in fields(Settings) if f.name == name)
    switch: _Switch = found
    return switch


def _defaults() -> dict[str, Any]:
    return {f.name: f.default for f in fields(Settings)}
