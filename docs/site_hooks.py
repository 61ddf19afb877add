"""What the site needs beside mkdocs.yml: pages from outside docs/, and no request to another host.

The same links work on GitHub: README.md and its like lie beside docs/ there, and in it here.
"""

import re
from pathlib import Path
from typing import Any

from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File, Files

ROOT = Path(__file__).resolve().parents[1]
OUTSIDE = ("README.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "CHANGELOG.md")
"""Pages that lie beside docs/."""

_FETCHED = (
    re.compile(
        r"<(?:script|img|iframe|source|video|audio)\b[^>]*\bsrc=[\"']?(?:https?:)?//[^\s>]*"
    ),
    re.compile(r"<link\b[^>]*\bhref=[\"']?(?:https?:)?//[^\s>]*"),
    re.compile(r"(?:url\(|@import\s+)[\"']?(?:https?:)?//[^\s)]*"),
)
"""What a browser would fetch from elsewhere by itself; a link that somebody clicks is none."""


def on_config(config: Any) -> Any:
    """A folder in the navigation (`families/`) stands for its pages."""
    config.nav = _expanded(config.nav, Path(config.docs_dir))
    return config


def _expanded(part: Any, docs: Path) -> Any:
    if isinstance(part, list):
        return [_expanded(one, docs) for one in part]
    if isinstance(part, dict):
        return {title: _expanded(one, docs) for title, one in part.items()}
    if not part.endswith("/"):
        return part
    pages = sorted((docs / part).glob("*.md"), key=lambda page: (page.name != "README.md", page))
    return [f"{part}{page.name}" for page in pages]


def on_files(files: Files, config: Any) -> Files:
    """Add the pages from outside docs/."""
    for name in OUTSIDE:
        files.append(File.generated(config, name, abs_src_path=str(ROOT / name)))
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Links across the edge of docs/, which is none on the site."""
    if page.file.src_uri in OUTSIDE:
        return re.sub(r"\]\(docs/", "](", markdown)
    outside = "|".join(map(re.escape, OUTSIDE))
    return re.sub(rf"\]\(((?:\.\./)*)\.\./({outside})", r"](\1\2", markdown)


def on_post_build(config: Any) -> None:
    """Fail where a page would fetch anything from another host."""
    found = []
    for file in sorted(Path(config.site_dir).rglob("*")):
        if file.suffix in (".html", ".css"):
            text = file.read_text(encoding="utf-8")
            found += [f"{file}: {hit.group()}" for one in _FETCHED for hit in one.finditer(text)]
    if found:
        raise PluginError("pages that ask other hosts:\n" + "\n".join(found))
