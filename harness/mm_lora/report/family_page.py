"""A family's page in docs/families/, made of its own data: `mm-lora families --pages DIR`."""

from collections.abc import Iterator, Mapping, Sequence

from mm_lora.core.record import DefectEntry
from mm_lora.families.family import Family
from mm_lora.families.flow import Flow
from mm_lora.families.modules import PROMPT, ROLES
from mm_lora.report.pipe_table import table

LANGUAGE_ROWS = "tokens scheduled in the step"

Flags = Sequence[tuple[str, object]]
"""Names without dashes and their values, as a family's models need them on a command line."""


def page(family: Family, flags: Flags, defects: Sequence[DefectEntry]) -> str:
    """The page in Markdown. `defects`: all entries; those of the family are on it."""
    lines = [
        f"# {family.title}",
        "",
        "<!-- Written by `mm-lora families --pages docs/families`. -->",
        "",
        f"Family `{family.name}`; vLLM's class `{family.vllm.name}` in `{family.vllm.module}`. "
        f"Media: {', '.join(family.media)}. State: {_state(family)}.",
        "",
        *_models(family),
        *_rows(family),
        *_groups(family),
        *_examples(family),
        *_defects(family, defects),
        *_serving(family, flags),
    ]
    return "\n".join(lines)


def index(families: Mapping[str, Family]) -> str:
    """The list of the pages."""
    rows = [
        (f"[{one.title}]({name}.md)", f"`{one.vllm.name}`", ", ".join(one.media), _state(one))
        for name, one in families.items()
    ]
    head = ["# Families", "", "<!-- Written by `mm-lora families --pages docs/families`. -->", ""]
    return "\n".join([*head, *table(("family", "class in vLLM", "media", "state"), rows), ""])


def _state(family: Family) -> str:
    return f"{family.state}: {family.state_reason}" if family.state_reason else family.state


def _models(family: Family) -> Iterator[str]:
    yield from ("## Geometry", "")
    rows = []
    for name in family.published:
        data = family.published_config(name)
        layout = family.describe(family.published_layout(data))
        rows.append((f"`{name}`", data["source"], "; ".join(layout)))
    yield from table(("model", "source", "numbers that decide the rows"), rows)
    yield ""


def _rows(family: Family) -> Iterator[str]:
    yield from ("## Rows", "")
    roles = {kind: role for role, kind in family.mapped.items()}
    rows = [
        (
            kind,
            formula,
            f"the {roles[kind]}'s mapping" if kind in roles else "no mapping of its own",
        )
        for kind, formula in family.formulas.items()
    ]
    yield from table(("rows", "formula", "vLLM must map them in"), rows)
    yield ""


def _groups(family: Family) -> Iterator[str]:
    yield from ("## Module groups", "")
    rows = []
    for role in ROLES:
        for group in family.groups.values():
            if group.role == role:
                sees = LANGUAGE_ROWS if group.rows == PROMPT else group.rows
                adapters = ", ".join(f"`{name}`" for name in group.projections)
                left = f"not wrapped: {group.unwrapped}" if group.unwrapped else "yes"
                rows.append((f"`{group.name}`", role, sees, adapters or "one projection", left))
    yield from table(("group", "role", "rows", "adapters for one projection", "wrapped"), rows)
    yield ""


_ASKED = {
    "image": ("Pictures", "--image WIDTHxHEIGHT"),
    "video": ("Videos", "--video FRAMESxWIDTHxHEIGHT"),
    "audio": ("Sounds", "--sound SAMPLES"),
}
"""Kind of medium → what it is called, and how `mm-lora tokens` is asked about it."""


def _examples(family: Family) -> Iterator[str]:
    name = family.published[0]
    layout = family.published_layout(family.published_config(name))
    media = [family.sizes.picture(role) for role in ("one", "few", "many")]
    flows = [family.flow(layout, medium) for medium in media]
    if "video" in family.media:
        flows.append(family.flow(layout, family.sizes.video()))
    first = next(kind for kind in _ASKED if kind in family.media)
    shown, option = _ASKED[first]
    yield from (f"## {shown} of the checks, on `{name}`", "")
    rows = [(_medium(flow), *_numbers(flow, family), str(flow.prompt_tokens)) for flow in flows]
    yield from table(("medium", *family.formulas, "placeholders", "with markers"), rows)
    yield from ("", f"`mm-lora tokens {name} {option}` says it of any size.", "")


def _medium(flow: Flow) -> str:
    return f"{flow.name} ({flow.medium})"


def _numbers(flow: Flow, family: Family) -> Iterator[str]:
    for kind in family.formulas:
        yield str(flow.rows.get(kind, ""))
    yield str(flow.tokens)


def _defects(family: Family, defects: Sequence[DefectEntry]) -> Iterator[str]:
    yield from ("## Known defects", "")
    mine = [one for one in defects if family.name in one.families]
    rows = [(f"`{one.id}`", one.versions, one.observed, f"`{one.fix}`") for one in mine]
    if rows:
        yield from table(("id", "vLLM", "what happens", "fix"), rows)
    else:
        yield "None of its own."
    everyone = sum(not one.families for one in defects)
    yield from ("", f"{everyone} more concern every family: [findings](../findings.md).", "")


def _serving(family: Family, flags: Flags) -> Iterator[str]:
    yield from (
        "## Serving",
        "",
        f"`mm-lora serve {family.published[0]}` serves the miniature. A server of your own needs",
        "",
        "<!-- parsed -->",
        "```sh",
        "vllm serve MODEL --enable-lora --enable-tower-connector-lora \\",
    )
    lines = [f"    --{name} {_spelled(value)}".rstrip() for name, value in flags]
    yield from (*(line + " \\" for line in lines[:-1]), *lines[-1:], "```", "")


def _spelled(value: object) -> str:
    if isinstance(value, list | tuple):
        return " ".join(map(str, value))
    if value is True:
        return ""
    text = str(value)
    return f"'{text}'" if any(letter in text for letter in ' {}"') else text
