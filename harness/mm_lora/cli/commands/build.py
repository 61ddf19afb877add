"""`mm-lora build`: writes a checkpoint, an adapter or a picture where the user wants it."""

import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mm_lora.adapters.sets import named
from mm_lora.adapters.spec import of_targets
from mm_lora.core.errors import ExitCode, UsageError

if TYPE_CHECKING:
    from rich.table import Table


def checkpoint(model: str, out: Path, seed: int = 0) -> int:
    """Write the miniature checkpoint of MODEL to the new or empty folder `out`."""
    from rich.console import Console

    from mm_lora.core.cache import copy_built
    from mm_lora.families.models import resolve
    from mm_lora.truth.build import Builder

    _must_be_free(out)
    resolved = resolve(model)
    if resolved.weights is not None:
        raise UsageError(
            f"{resolved.weights} is a whole checkpoint: there is nothing to build",
            "a published model, or a config.json",
        )
    with Builder(Path(sys.executable), _say) as builder:
        folder = builder.checkpoint(resolved, seed)
    copy_built(folder, out)
    size = sum(file.stat().st_size for file in out.glob("*.safetensors"))
    Console().print(
        f"{out}: miniature of {resolved.name}, {size / 1e6:.1f} MB ({resolved.source})",
        soft_wrap=True,
    )
    return ExitCode.PASS


def adapter(
    name: str,
    out: Path,
    model: str | None = None,
    miniature: bool = True,
    rank: int | None = None,
    alpha: float | None = None,
    dtype: str | None = None,
    seed: int | None = None,
    targets: Sequence[str] = (),
) -> int:
    """Write the adapter `name` for MODEL to the new or empty folder `out`; print its coverage.

    None leaves the known adapter's own value. With `targets` (shell patterns over PEFT module
    paths), `name` may be a new one.
    """
    from rich.console import Console

    from mm_lora.core.cache import copy_built
    from mm_lora.families.models import resolve
    from mm_lora.run.profiles import load
    from mm_lora.truth.build import Builder

    _must_be_free(out)
    changes: dict[str, Any] = {"rank": rank, "alpha": alpha, "dtype": dtype, "seed": seed}
    changes = {key: value for key, value in changes.items() if value is not None}
    resolved = resolve(model or load("cpu").model)
    if targets:
        spec = of_targets(name, targets, **changes)
    else:
        spec = replace(named(resolved.family, name), **changes)
    with Builder(Path(sys.executable), _say) as builder:
        built = builder.adapters(resolved, [spec], miniature=miniature)[name]
    copy_built(built.path, out)
    console = Console()
    console.print(coverage_table(f"{name} for {resolved.name}", built.coverage))
    console.print(
        f"{out}: rank {spec.rank}, alpha {spec.alpha:g}, {built.bytes / 1e6:.2f} MB", soft_wrap=True
    )
    return ExitCode.PASS


def image(
    kind: str,
    file: Path,
    size: tuple[int, int] = (336, 336),
    colours: Sequence[str] = (),
    pips: Sequence[int] = (),
) -> int:
    """Write a PNG of `kind` and `size` (width, height); colours and pips are for dice."""
    from rich.console import Console

    from mm_lora.core import images

    if kind == "dice":
        picture = images.dice(size, colours or images.DEFAULT_COLOURS, pips or images.DEFAULT_PIPS)
    elif colours or pips:
        raise UsageError(
            f"--colour and --pips do not apply to a {kind} picture", "the kind: only dice have them"
        )
    else:
        picture = images.draw(kind, size)
    try:
        file.write_bytes(images.png_bytes(picture))
    except OSError as error:
        raise UsageError(f"{file} cannot be written: {error}", "folder and permissions") from None
    shown = ""
    if kind == "dice":
        shown = "".join(f", {colour} {count}" for colour, count in images.read_dice(picture))
    Console().print(f"{file}: {kind}, {size[0]}×{size[1]}{shown}", soft_wrap=True)
    return ExitCode.PASS


def coverage_table(title: str, coverage: Sequence[Mapping[str, Any]]) -> "Table":
    """Group → modules → tensors → parameters, with the sum below."""
    from rich.table import Table

    table = Table(title=title, title_justify="left", box=None, pad_edge=False, show_footer=True)
    table.add_column("group", footer="sum")
    for column in ("modules", "tensors", "parameters"):
        total = sum(row[column] for row in coverage)
        table.add_column(column, justify="right", footer=f"{total:,}")
    for row in coverage:
        numbers = (f"{row[column]:,}" for column in ("modules", "tensors", "parameters"))
        table.add_row(str(row["group"]), *numbers)
    return table


def _must_be_free(out: Path) -> None:
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise UsageError(
            f"{out} exists and is not an empty folder", "name another place to write to"
        )


def _say(line: str) -> None:
    print(line, file=sys.stderr)
