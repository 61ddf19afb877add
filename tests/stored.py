"""Holds documents to the published schemas, and to no key more than they name."""

import json
from functools import cache
from pathlib import Path
from typing import Any

from jsonschema import Draft202012Validator

SCHEMAS = Path(__file__).resolve().parents[1] / "docs" / "schemas"
FILES = {"report.json": "report", "mutants.json": "mutants"}
"""File of a run → schema."""


def require(name: str, text: str) -> None:
    """Fail for a document that is not as the schema `name` says, or has a key that it lacks."""
    found = checker(name).iter_errors(json.loads(text))
    wrong = [f"{one.json_path}: {one.message}" for one in found]
    assert not wrong, f"no document of {name}.schema.json:\n" + "\n".join(wrong[:5])


@cache
def checker(name: str) -> Draft202012Validator:
    """The published schema, closed: readers ignore unknown keys, writers make none."""
    schema = json.loads((SCHEMAS / f"{name}.schema.json").read_text(encoding="utf-8"))
    return Draft202012Validator(_closed(schema))


def _closed(part: Any) -> Any:
    if isinstance(part, list):
        return [_closed(one) for one in part]
    if not isinstance(part, dict):
        return part
    closed = {key: _closed(one) for key, one in part.items()}
    has_keys = part.get("type") == "object" and "properties" in part
    return {"additionalProperties": False, **closed} if has_keys else closed
