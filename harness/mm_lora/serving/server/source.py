"""What a vLLM can do, read in its own source: its flags and a model class's hooks."""

import ast
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from mm_lora.families.family import VllmClass
from mm_lora.serving.syntax import parsed

ARGUMENTS = ("engine/arg_utils.py", "entrypoints/openai/cli_args.py")
MODELS = "model_executor/models"
INTERFACES = "interfaces"
COUNTS = "get_mm_lora_token_counts"
PAIR = ("get_num_mm_encoder_tokens", "get_num_mm_connector_tokens")

_FLAG = re.compile(r"[\"']--([a-z0-9-]+)[\"']")
_FIELD = re.compile(r"^\s+([a-z0-9_]+)\s*:", re.MULTILINE)


@dataclass(frozen=True)
class VllmSource:
    """A vLLM package's folder, as text. A file that is not there leaves its questions open."""

    folder: Path

    def lacks_flags(self, names: Iterable[str]) -> tuple[str, ...]:
        """Those of `names` (without dashes) that this vLLM does not have; none if nobody can say.

        vLLM spells its engine's flags out; those of its API server are fields of a class.
        """
        texts = [text for text in map(self._text, ARGUMENTS) if text is not None]
        if self._text(ARGUMENTS[0]) is None:
            return ()
        known = {found for text in texts for found in _FLAG.findall(text)}
        known |= {found.replace("_", "-") for text in texts for found in _FIELD.findall(text)}
        return tuple(name for name in names if not {name, name.removeprefix("no-")} & known)

    def lacks_tower_lora(self, vllm: VllmClass) -> str:
        """Why a model's class has no tower/connector LoRA, by file and hook; empty if it has.

        What the class defines or inherits from another model's counts: vLLM's interface defines
        the hooks for all models, as refusals.
        """
        file, name = f"{MODELS}/{vllm.module}.py", vllm.name
        if self._text(file) is None:
            return f"vllm/{file} is not there"
        defined = self._defined(vllm.module, name)
        if defined is None:
            return f"vllm/{file} has no class {name}"
        if COUNTS in defined or set(PAIR) <= defined:
            return ""
        return (
            f"vllm/{file}::{name} defines neither {COUNTS} (vLLM ≥ 0.30) nor "
            f"{' and '.join(PAIR)} (0.17 to 0.28)"
        )

    def _defined(self, module: str, name: str) -> set[str] | None:
        """The methods of a model's class and of its bases among the models; None for no class."""
        tree = None if module == INTERFACES else parsed(self.folder / MODELS / f"{module}.py")
        body = tree.body if tree else []
        mine = (node for node in body if isinstance(node, ast.ClassDef) and node.name == name)
        found = next(mine, None)
        if found is None:
            return None
        defined = {node.name for node in found.body if isinstance(node, ast.FunctionDef)}
        imported = {
            alias.asname or alias.name: (node.module, alias.name)
            for node in body
            if isinstance(node, ast.ImportFrom) and node.level == 1 and node.module
            for alias in node.names
        }
        for base in found.bases:
            named = base.id if isinstance(base, ast.Name) else ""
            parent = imported.get(named, (module, named))
            if named and parent != (module, name):
                defined |= self._defined(*parent) or set()
        return defined

    def _text(self, name: str) -> str | None:
        try:
            return (self.folder / name).read_text(encoding="utf-8")
        except OSError:
            return None
