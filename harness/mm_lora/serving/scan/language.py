"""The architecture of a config's language model, for classes that leave it to the config."""

import ast
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mm_lora.serving.syntax import parsed

_PARTS = ("text_config", "llm_config", "language_config")
_TABLE = "MODEL_FOR_CAUSAL_LM_MAPPING_NAMES"
_FILE = "transformers/models/auto/modeling_auto.py"


def language_of(config: Mapping[str, Any], package: Path) -> str:
    """As vLLM finds it (config/vllm.py::with_hf_config): what the config says, else what
    transformers beside `package`, vLLM's folder, has for the model type; "" where neither does."""
    parts = (config.get(name) for name in _PARTS)
    text: Mapping[str, Any] = next((one for one in parts if isinstance(one, Mapping)), {})
    if said := text.get("architectures"):
        return str(said[0])
    return _table(package.parent / _FILE).get(str(text.get("model_type")), "")


def _table(file: Path) -> dict[str, str]:
    tree = parsed(file)
    for node in tree.body if tree else ():
        targets = node.targets if isinstance(node, ast.Assign) else []
        if any(getattr(one, "id", "") == _TABLE for one in targets):
            return {
                str(key.value): str(value.value)
                for pair in ast.walk(node)
                if isinstance(pair, ast.Tuple) and len(pair.elts) == 2
                for key, value in [pair.elts]
                if isinstance(key, ast.Constant) and isinstance(value, ast.Constant)
            }
    return {}
