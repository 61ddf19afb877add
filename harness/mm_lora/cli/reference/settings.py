"""docs/reference/settings.md: every key of `--set`."""

from mm_lora.cli.reference import written
from mm_lora.run.settings import listing

HEAD = (
    "The rarer settings of a run: `--set KEY=VALUE`, as often as you like. `mm-lora settings` "
    "prints this list. The other options of a command are in its `--help`."
)


def page() -> str:
    """The page, a part for each key."""
    lines = [HEAD, ""]
    for one in listing():
        meaning = one.meaning[0].upper() + one.meaning[1:]
        lines += [f"## {one.key}", "", f"{meaning}.", ""]
        lines += [f"- value: `{one.type}`", f"- default: {one.default}"]
        lines += [f"- example: `{one.example}`", ""]
    return written.page("Settings", lines)
