"""The options of a run, one object from the command line to the checks.

A field is an option: its name and type say how it is told as `--name`, as `--mm name=value` and in
the line that repeats a check. Nothing else lists them but the command's own declaration.
"""

import types
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field, fields
from functools import cache
from pathlib import Path
from typing import Any, Union, get_args, get_origin, get_type_hints

from mm_lora.core.errors import UsageError
from mm_lora.run.settings import Settings, settings_of
from mm_lora.run.shards import Shard
from mm_lora.serving.server.remote import root_of

_NO = ("0", "false", "no")


@dataclass(frozen=True, kw_only=True)
class RunOptions:
    """Everything that `mm-lora verify` can be told. `model` empty: the profile's own."""

    profile: str = "cpu"
    base_url: str = ""
    model: tuple[str, ...] = ()
    full: bool = False
    only: tuple[str, ...] = ()
    skip: tuple[str, ...] = ()
    server_python: Path | None = None
    reference_python: Path | None = None
    adapter: tuple[str, ...] = ()
    reports: Path = Path("reports")
    with_fixes: bool = False
    strict: bool = False
    dry_run: bool = False
    seed: int = 0
    settings: Settings = field(default_factory=Settings)

    @property
    def shard(self) -> Shard | None:
        """The part of the checks that is run, None for all."""
        return self.settings.shard

    @property
    def feature(self) -> str:
        """auto, none or feature: whether the feature patch is brought."""
        return self.settings.patch or "auto"

    def command_line(self, *, without: Iterable[str] = ()) -> list[str]:
        """The `mm-lora verify` arguments that repeat these options; a setting is `set:KEY`."""
        line: list[str] = []
        for name, kind in _kinds().items():
            value, key = getattr(self, name), name.replace("_", "-")
            if key in without or value == getattr(_DEFAULT, name):
                continue
            if kind is Settings:
                for one, text in value.words().items():
                    line += [] if f"set:{one}" in without else ["--set", f"{one}={text}"]
            elif kind is bool:
                line.append(f"--{key}")
            else:
                for one in value if kind is tuple else (value,):
                    line += [f"--{key}", str(one)]
        return line


_DEFAULT = RunOptions()


@cache
def _kinds() -> Mapping[str, type]:
    """Field → tuple for a repeatable one, bool for a switch, or the type of its one value."""
    kinds: dict[str, type] = {}
    hints = get_type_hints(RunOptions)
    for one in fields(RunOptions):
        hint = hints[one.name]
        if get_origin(hint) in (Union, types.UnionType):
            (hint,) = (part for part in get_args(hint) if part is not types.NoneType)
        kinds[one.name] = get_origin(hint) or hint
    return kinds


def _value(name: str, told: Any) -> Any:
    """What was told of one option, as its type. Raises UsageError."""
    kind = _kinds()[name]
    if kind is bool and isinstance(told, str):
        return told.lower() not in _NO
    try:
        return kind(told)
    except ValueError:
        raise UsageError(f"{name} '{told}' is not a whole number") from None


def of_command(told: Mapping[str, Any]) -> RunOptions:
    """A command's own parameters, named as the fields are (`setting`: the `--set` words).

    Raises UsageError for a setting that cannot be used.
    """
    given = {name: told[name] for name in _kinds() if told.get(name) is not None}
    options = {name: _value(name, one) for name, one in given.items() if name != "settings"}
    if not options.get("profile"):
        options["profile"] = "remote" if options.get("base_url") else _DEFAULT.profile
    return RunOptions(**options, settings=settings_of(told.get("setting") or ()))


def of_words(words: Iterable[str]) -> RunOptions:
    """What a user of pytest gives as `--mm key=value`, a setting as `set:KEY=VALUE`."""
    told: dict[str, Any] = {}
    settings: list[str] = []
    for word in words:
        key, equals, value = word.partition("=")
        name = key.replace("-", "_")
        if key.startswith("set:"):
            settings.append(word.removeprefix("set:"))
        elif not equals or name not in _kinds() or name == "settings":
            known = ", ".join(one.replace("_", "-") for one in _kinds() if one != "settings")
            raise UsageError(f"--mm '{word}' is not known", f"key=value with {known} or set:KEY")
        elif _kinds()[name] is tuple:
            told[name] = (*told.get(name, ()), value)
        else:
            told[name] = value or None
    return of_command({**told, "setting": settings})


def require_place(options: RunOptions, truths: Collection[str]) -> None:
    """Raise UsageError where --base-url and the profile do not go together."""
    if options.base_url:
        root_of(options.base_url)
        if {"rows", "reference"} & set(truths):
            raise UsageError(
                f"--base-url judges a server by its answers; profile {options.profile} needs more",
                "use --profile remote, or a profile of your own with the same truths",
            )
    elif options.profile == "remote":
        raise UsageError("profile remote starts no server", "add --base-url URL")
