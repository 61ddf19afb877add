"""Files into typed values: TOML and JSON into dataclasses, every key and type checked.

A key that the dataclass lacks is an error wherever a person writes the file: msgspec overlooks it,
and a misspelt key would be a default in silence.
"""

import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields, is_dataclass
from functools import cache
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, TypeVar, Union, get_args, get_origin, get_type_hints

import msgspec

from mm_lora.core.errors import UsageError

T = TypeVar("T")

Number = Annotated[
    float,
    msgspec.Meta(extra_json_schema={"spelled": ["inf", "-inf", "nan"]}),
]
"""A number that may be infinite or none: JSON has no such numbers, so that files spell them."""


def read_toml(path: Path, kind: type[T], check: str = "") -> T:
    """A TOML file that people write. Raises UsageError naming the file and the key.

    `check`: what to look at, for the message.
    """
    try:
        data = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise UsageError(f"{path} cannot be read: {error}", check) from error
    return convert(data, kind, str(path), check)


def read_json(path: Path, kind: type[T], check: str = "") -> T:
    """A JSON file of ours or of a user's. Raises UsageError naming the file and the key."""
    try:
        data = msgspec.json.decode(path.read_bytes())
    except (OSError, msgspec.DecodeError) as error:
        raise UsageError(f"{path} cannot be read: {error}", check) from error
    return convert(data, kind, str(path), check)


def convert(data: Any, kind: type[T], source: str, check: str = "") -> T:
    """Plain data as `kind`. Raises UsageError naming `source` and the key: unknown, missing, of
    another type, or refused by the dataclass's own __post_init__ (ValueError)."""
    for where, key, known in _unknown(data, kind):
        place = f"[{where}] " if where else ""
        raise UsageError(f"{source}: {place}unknown key '{key}'", f"known: {', '.join(known)}")
    try:
        return msgspec.convert(data, kind, dec_hook=_shaped)
    except msgspec.ValidationError as error:
        what, _, where = str(error).rpartition(" - at `$")
        place = where.rstrip("`").removeprefix(".")
        message = f"{place}: {what}" if place and what else what or str(error)
        raise UsageError(f"{source}: {message}", check) from error


def _shaped(kind: Any, data: Any) -> Any:
    """A value of a class that is no dataclass itself, but says by `shape_of` which one it is."""
    if not hasattr(kind, "shape_of"):
        raise TypeError(f"{kind} cannot be read")
    return msgspec.convert(data, kind.shape_of(data), dec_hook=_shaped)


@cache
def _hints(kind: type) -> dict[str, Any]:
    """The types of a dataclass's fields, by name."""
    return get_type_hints(kind)


def _unknown(data: Any, kind: Any, where: str = "") -> Iterator[tuple[str, str, list[str]]]:
    """(table, key, known keys) of each key in `data` that the dataclass `kind` does not have.

    What is of another shape than `kind` is left to msgspec.
    """
    origin, arguments = get_origin(kind), get_args(kind)
    if hasattr(kind, "shape_of") and not is_dataclass(kind):
        kind = kind.shape_of(data)
    if isinstance(kind, type) and is_dataclass(kind):
        if isinstance(data, Mapping):
            hints = _hints(kind)
            known = [field.name for field in fields(kind) if field.init]
            for key, value in data.items():
                if key not in known:
                    yield where, key, known
                else:
                    yield from _unknown(value, hints[key], f"{where}.{key}".lstrip("."))
    elif origin in (Union, UnionType):
        several = [one for one in arguments if is_dataclass(one)]
        if len(several) == 1:
            yield from _unknown(data, several[0], where)
    elif isinstance(origin, type) and issubclass(origin, Mapping):
        if isinstance(data, Mapping):
            for key, value in data.items():
                yield from _unknown(value, arguments[1], f"{where}.{key}".lstrip("."))
    elif isinstance(origin, type) and issubclass(origin, Sequence) and isinstance(data, list):
        for place, value in enumerate(data):
            yield from _unknown(value, arguments[0], f"{where}[{place}]")


def plain(value: Any) -> Any:
    """A copy in dicts, lists and numbers, for JSON; what JSON has no form for becomes its text."""
    return msgspec.to_builtins(value, enc_hook=str)
