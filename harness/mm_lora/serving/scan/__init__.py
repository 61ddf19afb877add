"""The static scan: what adapters of tower and connector will miss, read in vLLM's source.

No model is imported: classes, constructors and LoRA layers are followed as syntax trees. What is
made at run time is said to be unknown, by name.
"""

import re
from collections.abc import Iterable
from pathlib import Path

from mm_lora.serving.hooked_classes import MAPPING, registered
from mm_lora.serving.scan.bodies import Bodies
from mm_lora.serving.scan.claims import claims, generation
from mm_lora.serving.scan.findings import Finding, Kind, Scan
from mm_lora.serving.scan.judge import Judge
from mm_lora.serving.scan.sources import MODELS, Class, Sources
from mm_lora.serving.scan.whole import of_class
from mm_lora.serving.scan.wrappers import wrappers
from mm_lora.serving.server.source import COUNTS, PAIR
from mm_lora.serving.server.source import MODELS as FOLDER
from mm_lora.serving.syntax import many_trees

_SPEAKS = re.compile(rf"def ({MAPPING}|{COUNTS}|{PAIR[0]})\b")
_CLASS = re.compile(r"^class (\w+)\(([^)]*)\)", re.MULTILINE)
_WORD = re.compile(r"\w+")

__all__ = ["Finding", "Kind", "Scan", "scan"]


def scan(package: Path) -> Scan:
    """Every registered class of the vLLM in `package` (its folder) that counts rows of a tower or
    connector, or names one."""
    with many_trees():
        return _scan(package)


def _scan(package: Path) -> Scan:
    sources = Sources(package)
    how = generation(_text(package / "lora" / "model_manager.py"))
    if how is None:
        return Scan(without="its LoRA manager asks no model for rows of tower or connector")
    places = registered(package / FOLDER / "registry.py")
    registry = {name: place for place, names in places.items() for name in names}
    bodies, known = Bodies(sources, registry), wrappers(sources)
    classes: list[str] = []
    findings: list[Finding] = []
    seen = 0
    for module, name in _candidates(package / FOLDER, places):
        source = sources.module(f"{MODELS}.{module}")
        cls = sources.find(source, name) if source else None
        if not isinstance(cls, Class):
            continue
        said = claims(bodies, cls, how)
        if not (said.counts or said.vision or said.unread):
            continue
        classes.append(name)
        whole = list(of_class(said))
        findings += whole
        if whole or not said.counts:
            continue
        judge = Judge(bodies, said, known)
        seen += len(judge.layers)
        findings += judge.findings()
    return Scan(classes=tuple(classes), layers=seen, findings=tuple(findings))


def _candidates(folder: Path, places: Iterable[tuple[str, str]]) -> list[tuple[str, str]]:
    """Those of the registered classes that may have a hook or a mapping, by the words of their
    files: to parse all of vLLM's models takes far longer."""
    texts = {module: _text(folder / f"{module}.py") for module, _ in places}
    bases = {name: said for text in texts.values() for name, said in _CLASS.findall(text)}
    speaks = {module for module, text in texts.items() if _SPEAKS.search(text)}
    names = {name for module in speaks for name, _ in _CLASS.findall(texts[module])}
    while more := {n for n, said in bases.items() if names & {*_WORD.findall(said)}} - names:
        names |= more
    return sorted((place for place in places if place[1] in names), key=lambda place: place[1])


def _text(place: Path) -> str:
    """A file, or the files of a package of that name."""
    files = [place] if place.is_file() else sorted(place.with_suffix("").glob("*.py"))
    return "\n".join(file.read_text(encoding="utf-8", errors="replace") for file in files)
