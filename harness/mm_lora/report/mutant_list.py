"""The list of all mutants in docs/mutants.md, made of the patches' own data."""

from collections.abc import Iterable, Iterator, Sequence

from mm_lora.inside.registry import Patch

MARK = "<!-- Below: written by `mm-lora mutants --page docs/mutants.md`. -->"


def page(text: str, patches: Iterable[Patch]) -> str:
    """A page whose part below the mark is the list; what stands above it is kept."""
    above = text.partition(MARK)[0].rstrip()
    mutants = [one for one in patches if one.kind == "mutant" and (one.kills or one.survives)]
    lines = [above, "", MARK, "", f"## The {len(mutants)} mutants", ""]
    lines += ["| mutant | what is wrong | killed by | not seen in a lane |", "|---|---|---|---|"]
    owners = dict.fromkeys(one.families for one in mutants)
    for families in sorted(owners, key=bool):
        lines += _rows(families, [one for one in mutants if one.families == families])
    return "\n".join([*lines, ""])


def _rows(families: Sequence[str], mutants: Sequence[Patch]) -> Iterator[str]:
    yield f"| **{', '.join(families) or 'any family'}** | | | |"
    for one in mutants:
        name = f"`{one.id.removeprefix('mutant-')}`{' (restart)' if one.needs_restart else ''}"
        kills = "<br>".join(f"`{pattern}`" for pattern in one.kills)
        blind = "<br>".join(f"{lane}: {reason}" for lane, reason in one.survives.items())
        yield f"| {name} | {one.reason} | {kills} | {blind} |"
