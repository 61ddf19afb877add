"""An inspection for people: each fate with its reasons, tensors of one kind in one line."""

import re
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from mm_lora.checks.inspection.findings import Fate, Inspection, Tensor, Why

if TYPE_CHECKING:
    from rich.text import Text

_COLOURS = {
    Fate.APPLIED: "green",
    Fate.PARTLY: "yellow",
    Fate.IGNORED: "red",
    Fate.REFUSED: "red",
}
_NUMBER = re.compile(r"(?<=\.)\d+(?=\.)")
_SIDE = re.compile(r"\blora_[AB]\b")


def rendered(one: Inspection) -> "Iterator[Text]":
    """Lines with colours."""
    from rich.text import Text

    counts = ", ".join(
        f"{sum(t.fate is fate for t in one.tensors)} {fate}"
        for fate in Fate
        if any(t.fate is fate for t in one.tensors)
    )
    head = Text(f"{one.adapter}: ")
    head.append(str(one.fate), style=f"bold {_COLOURS[one.fate]}")
    head.append(
        f" by vLLM {one.vllm} to {one.model}; {len(one.tensors)} tensors: {counts or 'none'}"
    )
    if one.fate is Fate.APPLIED and not one.is_fine:
        head.append(", some of them broken", style="bold red")
    yield head
    for note in one.notes:
        yield Text(f"  {note}", style="dim")
    rest = [t for t in one.tensors if t.why is Why.TOGETHER]
    for fate in (Fate.REFUSED, Fate.IGNORED, Fate.APPLIED):
        for many in _alike(t for t in one.tensors if t.fate is fate and t.why is not Why.TOGETHER):
            yield _line(many)
    if rest:
        yield Text(f"  refused {len(rest):>5} others with them: vLLM takes an adapter as a whole")
    for group in one.groups:
        said = f"  {group.name}: {group.modules} modules"
        if group.effect is not None:
            said += f", ‖scale·B·A‖ = {group.effect:.4g}"
        if group.share is not None:
            said += f" = {group.share:.2%} of ‖W‖"
        if group.rank is not None:
            said += f", effective rank {group.rank:.3g}"
        yield Text(said, style="dim")


def _alike(tensors: Iterable[Tensor]) -> list[list[Tensor]]:
    """Those that differ in layer number and side alone."""
    found: dict[tuple[str, ...], list[Tensor]] = {}
    for one in tensors:
        told = (_plain(one.key), _plain(one.layer), _plain(one.reason), _plain(one.nearest))
        found.setdefault(told, []).append(one)
    return list(found.values())


def _plain(text: str) -> str:
    return _SIDE.sub("lora_?", _NUMBER.sub("*", text))


def _line(many: list[Tensor]) -> "Text":
    from rich.text import Text

    one = many[0]
    key = _plain(one.key) if len(many) > 1 else one.key
    line = Text(f"  {one.fate:<8}", style=_COLOURS[one.fate])
    if one.broken:
        line.append("broken ", style="bold red")
    line.append(f"{len(many):>4} × {key}", style="not bold default")
    if one.layer:
        layer = _plain(one.layer) if len(many) > 1 else one.layer
        line.append(f" → {layer} ({one.wrapper or 'no wrapper'})", style="cyan")
    if one.reason:
        line.append(f": {one.reason}", style="default")
    if one.nearest:
        nearest = _plain(one.nearest) if len(many) > 1 else one.nearest
        line.append(f"; right would be {nearest}", style="magenta")
    return line
