"""JSON Schemas of the documents that others read, from the types: `python -m mm_lora.cli.schemas`.

`make schemas` writes them into docs/schemas. A schema says what this version writes: every key that
it always writes is required, and others are allowed, since later versions may add some.
"""

import inspect
import json
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields, is_dataclass
from pathlib import Path
from typing import Annotated, Any, get_args, get_type_hints

import msgspec

from mm_lora.checks.inspection.document import AdapterVerdict, AdapterVerdicts
from mm_lora.core.outcomes import Outcome
from mm_lora.core.report import Report, Vllm
from mm_lora.core.run_folder import RunFolder
from mm_lora.core.table import StoredTable
from mm_lora.families.tokens_document import TokensDocument
from mm_lora.run.mutant_document import MutantResults


@dataclass(frozen=True, kw_only=True)
class Document:
    """A document that is one of `kinds`. Of the first one, `stored`: key → its type in the file,
    where it is computed, or kept otherwise; `omitted`: keys that are left out where they say
    nothing."""

    title: str
    kinds: tuple[type, ...]
    stored: Mapping[str, Any] = field(default_factory=dict)
    omitted: tuple[str, ...] = ()


COUNTS = Annotated[
    Mapping[str, int],
    msgspec.Meta(extra_json_schema={"propertyNames": {"enum": [str(one) for one in Outcome]}}),
]

DOCUMENTS: Mapping[str, Document] = {
    "report": Document(
        title="report.json of a run",
        kinds=(Report,),
        stored={
            "vllm": Vllm,
            "counts": COUNTS,
            "tables": Mapping[str, StoredTable],
        },
        omitted=("shard",),
    ),
    "tokens": Document(title="What `mm-lora tokens --json` prints", kinds=(TokensDocument,)),
    "inspect": Document(
        title="What `mm-lora inspect --json` prints", kinds=(AdapterVerdict, AdapterVerdicts)
    ),
    "mutants": Document(title="mutants.json of a run of mutants", kinds=(MutantResults,)),
}

SPARSE = (Vllm,)
"""Written without what is not known: none of their keys is required."""


def schema(name: str) -> dict[str, Any]:
    """The JSON Schema (2020-12) of a document."""
    document = DOCUMENTS[name]
    named = [*document.kinds, *document.stored.values()]
    refs, parts = msgspec.json.schema_components(
        named, schema_hook=lambda kind: {"type": "object"}, ref_template="#/$defs/{name}"
    )
    count = len(document.kinds)
    stored = dict(zip(document.stored, refs[count:], strict=True))
    for kind in _dataclasses(named):
        _finish(parts[kind.__name__], kind)
    first = parts[document.kinds[0].__name__]
    first["properties"] |= stored
    always = dict.fromkeys([*first["required"], *stored])
    first["required"] = [name for name in always if name not in document.omitted]
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": f"urn:mm-lora:schema:{name}:1",
        "title": document.title,
        **(refs[0] if count == 1 else {"anyOf": list(refs[:count])}),
        "$defs": {key: _tidied(part) for key, part in sorted(parts.items())},
    }


def _dataclasses(hints: list[Any]) -> list[type]:
    """Every dataclass that these types are made of."""
    found: list[type] = []
    queue = list(hints)
    while queue:
        hint = queue.pop()
        if is_dataclass(hint) and isinstance(hint, type):
            if hint not in found:
                found.append(hint)
                queue += get_type_hints(hint).values()
        else:
            queue += [one for one in get_args(hint) if one is not ...]
    return found


def _finish(part: dict[str, Any], kind: type) -> None:
    """Give a part its keys in the order of the type, and require those that are always written."""
    hints = get_type_hints(kind)
    names = [one.name for one in fields(kind)]
    always = [name for name in names if msgspec.UnsetType not in get_args(hints[name])]
    part["properties"] = {name: part["properties"][name] for name in names}
    part["required"] = [] if kind in SPARSE else always
    part["description"] = " ".join((inspect.getdoc(kind) or "").split())


def _tidied(part: Any) -> Any:
    """Without defaults, which are of no meaning in a file that has every key; numbers that are not
    finite as the file spells them."""
    if isinstance(part, list):
        return [_tidied(one) for one in part]
    if not isinstance(part, dict):
        return part
    rest = {key: _tidied(one) for key, one in part.items() if key not in ("default", "spelled")}
    if "spelled" in part:
        return {"anyOf": [rest, {"enum": part["spelled"]}]}
    if "anyOf" in rest:
        rest["anyOf"] = [one for inner in rest["anyOf"] for one in inner.get("anyOf", [inner])]
    return rest


def files() -> Iterator[tuple[str, str]]:
    """(file name, text) of every schema."""
    for name in DOCUMENTS:
        text = json.dumps(schema(name), ensure_ascii=False, indent=1)
        yield f"{name}.schema.json", f"{text}\n"


def main(folder: Path) -> None:
    """Write the schemas into a folder."""
    for name, text in files():
        print(RunFolder(folder).write(name, text))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
