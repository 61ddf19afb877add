"""docs/reference/profiles.md: the profiles that ship, and the keys of one of your own."""

import inspect
from collections.abc import Iterator, Mapping
from dataclasses import MISSING, fields
from typing import Any

from mm_lora.cli.reference import written
from mm_lora.core.resources import fixtures_dir
from mm_lora.report.pipe_table import table
from mm_lora.run import limits
from mm_lora.run.profiles import Needs, Profile, load, names

HEAD = (
    "A profile says where a run happens: model, flags, dtype, tolerances, truths. `--profile NAME` "
    "chooses one, `--profile FILE.toml` one of your own: a copy of one in `fixtures/profiles/`. "
    "Without the option it is `cpu`, or `remote` with `--base-url`. Tolerances and effects are in "
    "logprob."
)


def page() -> str:
    """The page: all in one table, then each, then the keys."""
    profiles = [load(name) for name in names()]
    lines = [HEAD, "", *_overview(profiles)]
    for one in profiles:
        lines += _profile(one)
    return written.page("Profiles", [*lines, *_keys()])


def _overview(profiles: list[Profile]) -> Iterator[str]:
    rows = [
        (
            f"[{one.name}](#{one.name})",
            f"`{one.model}`",
            one.dtype,
            f"{one.tolerance:g}",
            f"{one.min_effect:g}",
            ", ".join(one.truths),
        )
        for one in profiles
    ]
    yield from table(("profile", "model", "dtype", "tolerance", "least effect", "truths"), rows)
    yield ""


def _profile(one: Profile) -> Iterator[str]:
    yield from (f"## {one.name}", "", _comment(one.name), "")
    if one.needs.gpus:
        gpus, gigabytes = (
            f"{one.needs.gpus} GPUs of {one.needs.gpu_memory_gb} GB",
            one.needs.download_gb,
        )
        yield f"- needs: {gpus}; about {gigabytes} GB to download"
    if one.select:
        yield f"- checks: {', '.join(f'`{pattern}`' for pattern in one.select)}"
    start, request = f"{one.ready_timeout_s:g} s", f"{one.request_timeout_s:g} s"
    yield f"- time: {start} for a start, {request} for a request"
    if one.flags:
        yield f"- flags: {_code(one.flags)}"
    if one.env:
        yield f"- environment: {_code(one.env)}"
    if cannot := limits.of(one):
        yield from ("- cannot see:", *(f"    - {limit}" for limit in cannot))
    yield ""


def _comment(name: str) -> str:
    """What its file says at its top."""
    text = (fixtures_dir() / "profiles" / f"{name}.toml").read_text(encoding="utf-8")
    lines = []
    for line in text.splitlines():
        if not line.startswith("#"):
            break
        lines.append(line.removeprefix("#").strip())
    return " ".join(lines)


def _code(values: Mapping[str, Any]) -> str:
    return ", ".join(
        f"`{key}`" if value is True else f"`{key}={value}`" for key, value in values.items()
    )


def _keys() -> Iterator[str]:
    said = [" ".join((inspect.getdoc(kind) or "").split()) for kind in (Profile, Needs)]
    yield from ("## Keys of a profile", "", said[0], "")
    yield from (f"`needs`: {said[1]} A key that is not here is an error.", "")
    yield from table(("key", "default"), [*_rows(Profile), *_rows(Needs, "needs.")])


def _rows(kind: type, above: str = "") -> Iterator[tuple[str, str]]:
    for one in fields(kind):
        if one.name != "needs":
            yield f"`{above}{one.name}`", _default(one)


def _default(one: Any) -> str:
    if one.default_factory is not MISSING or one.default in ("", ()):
        return "none"
    if one.default is MISSING:
        return "must be there"
    return ", ".join(one.default) if isinstance(one.default, tuple) else f"{one.default:g}"
