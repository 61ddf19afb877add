"""Llama 4's module groups as data: their PEFT module paths, and what vLLM wraps them as.

transformers and vLLM use the same paths, so that a PEFT key `base_model.model.<path>.lora_A.weight`
maps one to one. The router and the routed experts are in no group: the experts are one parameter,
not Linear modules (transformers' `Llama4TextExperts`), and vLLM on a CPU wraps neither.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

TOWER, CONNECTOR, LANGUAGE = "tower", "connector", "language"


@dataclass(frozen=True)
class ModuleGroup:
    """A named set of modules that an adapter can target together.

    `pattern`: a regular expression over whole PEFT module paths (`re.fullmatch`, as PEFT itself
    uses a `target_modules` string). `wrapper`: vLLM's kind. `rows`: what one row of the input is.
    """

    name: str
    pattern: str
    wrapper: str
    rows: str

    def has(self, path: str) -> bool:
        """Whether the module at `path` belongs to this group."""
        return re.fullmatch(self.pattern, path) is not None


_VISION_LAYER = r"vision_model\.model\.layers\.\d+"
_TEXT_LAYER = r"language_model\.model\.layers\.\d+"

GROUPS: Mapping[str, ModuleGroup] = {
    group.name: group
    for group in (
        ModuleGroup(
            "tower-attention", rf"{_VISION_LAYER}\.self_attn\.[qkvo]_proj", TOWER, "encoder"
        ),
        ModuleGroup("tower-mlp", rf"{_VISION_LAYER}\.mlp\.fc[12]", TOWER, "encoder"),
        # Rows before the class token is added: 576 a chunk on Scout, not 577.
        ModuleGroup("patch-embedding", r"vision_model\.patch_embedding\.linear", TOWER, "patches"),
        # Under the tower's prefix, but a connector: the longest matching prefix must win.
        ModuleGroup(
            "vision-adapter", r"vision_model\.vision_adapter\.mlp\.fc[12]", CONNECTOR, "connector"
        ),
        ModuleGroup("projector", r"multi_modal_projector\.linear_1", CONNECTOR, "connector"),
        ModuleGroup(
            "language-model",
            rf"{_TEXT_LAYER}\.(self_attn\.[qkvo]_proj"
            r"|feed_forward\.(shared_expert\.)?(gate|up|down)_proj)",
            LANGUAGE,
            "prompt",
        ),
    )
}

LANGUAGE_ATTENTION = "language_model.model.layers.*.self_attn.?_proj"
"""Target of the part of `language-model` that a server wraps by default."""

LANGUAGE_MLP = "language_model.model.layers.*.feed_forward.*_proj"
"""Target of its other part, for a server that wraps `gate_up_proj` and `down_proj` too."""

TARGETS: Mapping[str, str] = {
    "tower-attention": "vision_model.model.layers.*.self_attn.?_proj",
    "tower-mlp": "vision_model.model.layers.*.mlp.fc?",
    "vision-adapter": "vision_model.vision_adapter.mlp.fc?",
    "projector": "multi_modal_projector.linear_1",
}
"""The whole groups as targets, to mix them with parts of others in one adapter."""


def group_of(path: str) -> ModuleGroup | None:
    """The group of the module at `path`, or None for a module that takes no adapter."""
    return next((group for group in GROUPS.values() if group.has(path)), None)


def target_pattern(groups: Iterable[str] = (), targets: Iterable[str] = ()) -> str:
    """One regular expression over module paths, for PEFT's `target_modules`.

    `targets` are shell patterns (`*` crosses dots, `?`, `[abc]`) and override `groups`.
    Raises KeyError for an unknown group.
    """
    patterns = [_from_glob(target) for target in targets]
    patterns = patterns or [GROUPS[name].pattern for name in groups]
    return patterns[0] if len(patterns) == 1 else "|".join(f"({pattern})" for pattern in patterns)


def _from_glob(glob: str) -> str:
    """A glob as a regular expression; `fnmatch.translate` writes another one in each Python."""
    parts = re.split(r"(\*|\?|\[[^]]+\])", glob)
    known = {"*": ".*", "?": "."}
    return "".join(
        known.get(part, part if part.startswith("[") else re.escape(part)) for part in parts if part
    )
