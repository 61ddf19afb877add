"""`mm-lora cache`: prints and prunes what is kept between runs."""

import json
import re
from collections.abc import Sequence
from typing import Any

from mm_lora.core.cache_room import Held, chosen, held, remove
from mm_lora.core.errors import ExitCode, TroubleError, UsageError
from mm_lora.core.resources import cache_dir

SCHEMA = 1
_DAY_S = 24 * 3600.0
_UNITS = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "t": 10**12}
_SIZE = re.compile(r"(\d+(?:\.\d+)?) ?([kmgt]?)b?", re.IGNORECASE)


def show(as_json: bool) -> int:
    """Print the cache's folder, and things and bytes of each kind."""
    return _print(held(cache_dir()), as_json, "holds")


def prune(
    to: str | None, unused_for: float | None, kinds: Sequence[str], dry_run: bool, as_json: bool
) -> int:
    """Remove what was asked for, and print it. Raises UsageError for words that mean nothing, and
    TroubleError where a part cannot be removed."""
    everything = held(cache_dir())
    unknown = sorted(set(kinds) - {one.kind for one in everything})
    if unknown:
        there = ", ".join(sorted({one.kind for one in everything})) or "nothing"
        raise UsageError(f"the cache has no {' or '.join(unknown)}", f"it has {there}")
    going = chosen(
        everything,
        at_most=None if to is None else size_of(to),
        unused_for_s=None if unused_for is None else unused_for * _DAY_S,
        kinds=kinds,
    )
    if dry_run:
        return _print(going, as_json, "would lose")
    try:
        gone = [one for one in going if remove(one)]
    except OSError as error:
        raise TroubleError(
            f"{error.filename} cannot be removed: {error.strerror}", "who may write there?"
        ) from error
    return _print(gone, as_json, "lost")


def size_of(text: str) -> int:
    """Bytes of a size such as 500MB or 2 GB, in units of a thousand. Raises UsageError."""
    match = _SIZE.fullmatch(text.strip())
    if match is None:
        raise UsageError(f"'{text}' is no size", "--to, as in 500MB or 2GB")
    return int(float(match[1]) * _UNITS[match[2].lower()])


def as_document(found: Sequence[Held], folder: str) -> dict[str, Any]:
    """The JSON document: things and bytes by kind."""
    kinds = {
        kind: {
            "things": sum(one.kind == kind for one in found),
            "bytes": sum(one.size for one in found if one.kind == kind),
        }
        for kind in sorted({one.kind for one in found})
    }
    total = sum(one.size for one in found)
    return {"schema": SCHEMA, "folder": folder, "bytes": total, "kinds": kinds}


def _print(found: Sequence[Held], as_json: bool, verb: str) -> int:
    document = as_document(found, str(cache_dir()))
    if as_json:
        print(json.dumps(document, ensure_ascii=False, indent=1))
        return ExitCode.PASS
    print(f"{document['folder']} {verb} {_readable(document['bytes'])}")
    for kind, told in document["kinds"].items():
        print(f"  {kind:<14} {told['things']:>6}  {_readable(told['bytes']):>9}")
    return ExitCode.PASS


def _readable(size: int) -> str:
    unit = next((name for name, bytes_ in (("GB", 1e9), ("MB", 1e6)) if size >= bytes_), "kB")
    return f"{size / {'GB': 1e9, 'MB': 1e6, 'kB': 1e3}[unit]:.1f} {unit}"
