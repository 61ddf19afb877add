"""Which PEFT configurations a vLLM refuses and how it scales, read in its `peft_helper.py`."""

import ast
import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mm_lora.core.errors import InstallError
from mm_lora.serving.syntax import parsed

FILE = "lora/peft_helper.py"
_INIT = "init_lora_weights"
_SAVED = "modules_to_save"


@dataclass(frozen=True, kw_only=True)
class PeftRules:
    """`required`: keys without which it refuses; `known`: those that it reads; `features`: those
    that it refuses where they are set; `inits`: texts of init_lora_weights that it takes, None
    where it does not look; `saved`: modules_to_save that it takes."""

    required: frozenset[str]
    known: frozenset[str]
    features: frozenset[str]
    inits: frozenset[str] | None
    saved: frozenset[str]

    def scaling(self, config: Mapping[str, Any], module: str) -> float:
        """What vLLM multiplies B·A of a module with; `module` as the adapter's keys say it."""
        rank = self._of(config, "rank_pattern", module, config["r"])
        alpha = self._of(config, "alpha_pattern", module, config["lora_alpha"])
        root = "use_rslora" in self.known and config.get("use_rslora")
        return float(alpha / (math.sqrt(rank) if root else rank))

    def rank(self, config: Mapping[str, Any]) -> int:
        """The greatest rank that it compares with its maximum."""
        patterns = config.get("rank_pattern") if "rank_pattern" in self.known else None
        return int(max([config["r"], *(patterns or {}).values()]))

    def refusals(self, config: Mapping[str, Any], largest: int) -> Iterator[str]:
        """Why vLLM refuses the adapter for its configuration; `largest`: --max-lora-rank."""
        missing = sorted(key for key in self.required if key not in config)
        if missing:
            yield f"adapter_config.json has no {', '.join(missing)}"
            return
        try:
            yield from self._told(config, largest)
        except (TypeError, ValueError, ZeroDivisionError, AttributeError) as error:
            yield f"adapter_config.json has a value that cannot be used: {error}"

    def _told(self, config: Mapping[str, Any], largest: int) -> Iterator[str]:
        for key in sorted(self.features - {_SAVED, _INIT, "bias"}):
            if config.get(key):
                yield f"{key}: this vLLM does not support it"
        left = [name for name in config.get(_SAVED) or [] if name not in self.saved]
        if left and _SAVED in self.features:
            yield f"{_SAVED}: {', '.join(map(str, left))}: vLLM takes no saved modules"
        init = config.get(_INIT, True)
        if self.inits is not None and isinstance(init, str) and init.lower() not in self.inits:
            yield f"{_INIT}: {init} changes the base model's weights, which vLLM does not"
        if config["r"] <= 0:
            yield f"r is {config['r']}"
            return
        if config.get("bias", "none") != "none":
            yield f"bias: {config['bias']}: vLLM does not support it"
        if (rank := self.rank(config)) > largest:
            yield f"rank {rank} is above the server's --max-lora-rank {largest}"
        self.scaling(config, "x")

    def _of(self, config: Mapping[str, Any], key: str, module: str, default: float) -> float:
        patterns = (config.get(key) or {}) if key in self.known else {}
        for pattern, value in patterns.items():
            if re.match(rf"(.*\.)?({pattern})$", module):
                return float(value)
        return default


def peft_rules(package: Path) -> PeftRules:
    """Those of the vLLM in `package`, its folder. Raises InstallError where there are none."""
    tree = parsed(package / FILE)
    helper = next(
        (n for n in ast.walk(tree or ast.Module([], [])) if getattr(n, "name", "") == "PEFTHelper"),
        None,
    )
    if not isinstance(helper, ast.ClassDef):
        raise InstallError(f"{package / FILE} has no PEFTHelper that can be read", "--vllm")
    fields = {
        node.target.id: node.value
        for node in helper.body
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name)
    }
    methods = {node.name: node for node in helper.body if isinstance(node, ast.FunctionDef)}
    validate = methods.get("_validate_features")
    tests = [n.test for n in ast.walk(validate) if isinstance(n, ast.If)] if validate else []
    tested = {
        one.attr
        for test in tests
        for one in ast.walk(test)
        if isinstance(one, ast.Attribute) and getattr(one.value, "id", "") == "self"
    }
    init = methods.get("_init_is_supported")
    return PeftRules(
        required=frozenset(name for name, value in fields.items() if value is None),
        known=frozenset(fields),
        features=frozenset(tested & set(fields)),
        inits=frozenset(_texts(init)) if init else None,
        saved=frozenset(_texts(validate) & {"classifier", "score"}) if validate else frozenset(),
    )


def _texts(node: ast.AST | None) -> set[str]:
    found = (one.value for one in ast.walk(node) if isinstance(one, ast.Constant)) if node else ()
    return {value for value in found if isinstance(value, str)}
