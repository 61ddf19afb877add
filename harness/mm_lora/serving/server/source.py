"""What a vLLM can do, read in its own source: its flags and a model class's hooks."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from mm_lora.families.family import VllmClass

ARGUMENTS = ("engine/arg_utils.py", "entrypoints/openai/cli_args.py")
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

        Only what the class itself defines counts: vLLM's interface defines the hooks for all
        models, as refusals.
        """
        file, name = f"model_executor/models/{vllm.module}.py", vllm.name
        text = self._text(file)
        if text is None:
            return f"vllm/{file} is not there"
        body = re.search(rf"^class {name}\b.*?(?=^\S|\Z)", _closed(text), re.M | re.S)
        if body is None:
            return f"vllm/{file} has no class {name}"
        defined = set(re.findall(r"^    def (\w+)\(", body[0], re.MULTILINE))
        if COUNTS in defined or set(PAIR) <= defined:
            return ""
        return (
            f"vllm/{file}::{name} defines neither {COUNTS} (vLLM ≥ 0.30) nor "
            f"{' and '.join(PAIR)} (0.17 to 0.28)"
        )

    def _text(self, name: str) -> str | None:
        try:
            return (self.folder / name).read_text(encoding="utf-8")
        except OSError:
            return None


def _closed(text: str) -> str:
    """The text with the closing parenthesis of a class's head indented: it ends no class."""
    return re.sub(r"^\):", " ):", text, flags=re.MULTILINE)
