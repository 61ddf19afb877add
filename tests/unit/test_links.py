"""Links between the documents lead somewhere on GitHub; `make docs` looks at them for the site."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from blocks import ROOT, files

_LINK = re.compile(r"\]\(([^)\s]+)\)")
_CODE = re.compile(r"(?ms)^(```.*?^```)|`[^`\n]*`")


def links(text: str) -> Iterator[str]:
    """Those to files here; what stands in code is none."""
    for target in _LINK.findall(_CODE.sub("", text)):
        if not re.match(r"[a-z]+:", target):
            yield target


def anchors(text: str) -> set[str]:
    """What GitHub makes of the headings."""
    headings = re.findall(r"(?m)^#+ (.+)$", re.sub(r"(?ms)^```.*?^```", "", text))
    return {
        re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-") for heading in headings
    }


@pytest.mark.parametrize("file", files(), ids=lambda file: str(file.relative_to(ROOT)))
def test_every_link_leads_somewhere(file: Path) -> None:
    for target in links(file.read_text(encoding="utf-8")):
        path, _, anchor = target.partition("#")
        there = (file.parent / path).resolve() if path else file
        assert there.is_file(), f"{target}: no such file"
        if anchor:
            assert anchor in anchors(there.read_text(encoding="utf-8")), (
                f"{target}: no such heading"
            )


def test_every_document_is_linked_from_somewhere() -> None:
    reached = {
        (file.parent / target.partition("#")[0]).resolve()
        for file in files()
        for target in links(file.read_text(encoding="utf-8"))
    }
    lost = [str(file.relative_to(ROOT)) for file in files() if file not in reached]
    assert set(lost) <= {"README.md", "CHANGELOG.md", "CONTRIBUTING.md", "ARCHITECTURE.md"}


def test_the_readme_stays_short() -> None:
    lines = (ROOT / "README.md").read_text(encoding="utf-8").splitlines()
    assert len(lines) < 120


def test_what_a_link_is() -> None:
    text = "[a](b.md) `[c](d.md)` [e](https://f)\n```\n[g](h.md)\n```\n"
    assert list(links(text)) == ["b.md"]
    assert anchors("# A: b, `c`\n## D-e\n") == {"a-b-c", "d-e"}
