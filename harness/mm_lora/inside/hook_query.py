"""Asks vLLM's model class, without weights, for its tower and connector LoRA hooks.

`python -m mm_lora_inside.hook_query QUESTION ANSWER`: a process of its own in the server's
interpreter, or a fork of the cradle. It reads one JSON file and writes the other; what vLLM says
besides goes to its output. Imports nothing of the harness.
"""

import json
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from types import SimpleNamespace
from typing import Any

from . import families, torchvision_schemas
from .catalogue import PATCHES

MODELS = "vllm.model_executor.models"
MANAGER_MODULE = "vllm.lora.model_manager"
FLAG = "supports_tower_connector_lora"
COUNTS = "get_mm_lora_token_counts"
TOWER_COUNT = "get_num_mm_encoder_tokens"
CONNECTOR_COUNT = "get_num_mm_connector_tokens"
KINDS = {"language_model": "language", "connector": "connector", "tower_model": "tower"}


def main() -> int:
    """Read the question, write the answer; trouble is part of the answer, by name."""
    question, answer = sys.argv[1:]
    with open(question, encoding="utf-8") as source:
        found = ask(json.load(source))
    with open(answer, "w", encoding="utf-8") as out:
        json.dump(found, out)
    return 0


def ask(question: Mapping[str, Any]) -> dict[str, Any]:
    """`question`: {"class": {"module", "name"}, "models": [{"name", "config", "paths": [...],
    "cases": [{"tokens", "medium", "shapes"}]}], "patches"?}.

    `cases` are what to ask the count hook for; `patches` the ids of what to put into the class
    first: the feature, seeded mistakes. The answer names in "missing" every
    hook point that this vLLM does not have.
    """
    import importlib

    torchvision_schemas.declare()
    import vllm

    missing: list[str] = []
    model_class = manager_class = None
    class_module, class_name = f"{MODELS}.{question['class']['module']}", question["class"]["name"]
    for module, name in (
        (class_module, class_name),
        (MANAGER_MODULE, "LoRAModelManager"),
    ):
        try:
            found = getattr(importlib.import_module(module), name)
        except (ImportError, AttributeError) as error:
            missing.append(f"{module}.{name} ({error})")
            continue
        if name == class_name:
            for patch in PATCHES:
                if patch.id in question.get("patches", ()) and module in patch.modules:
                    patch.apply(sys.modules[module])
            model_class = found
        else:
            manager_class = found
    answer: dict[str, Any] = {
        "vllm": vllm.__version__,
        "missing": missing,
        "models": [],
    }
    if model_class is None:
        return answer
    generation = _generation(model_class)
    if generation is None:
        missing.append(f"{class_name}.{COUNTS} (or {TOWER_COUNT} and {CONNECTOR_COUNT})")
    if not hasattr(model_class, "get_mm_mapping"):
        missing.append(f"{class_name}.get_mm_mapping")
    if manager_class is not None and not hasattr(manager_class, "_get_punica_wrapper"):
        missing.append("LoRAModelManager._get_punica_wrapper")
        manager_class = None
    answer["generation"] = generation
    answer["flag"] = getattr(model_class, FLAG, None)
    answer["models"] = [
        _ask_model(model_class, manager_class, generation, model) for model in question["models"]
    ]
    return answer


def _generation(model_class: type[Any]) -> str | None:
    """Which of the two count hooks the class itself has, not only the interface's refusal."""

    def own(name: str) -> bool:
        return any(
            name in base.__dict__
            for base in model_class.__mro__
            if not base.__module__.endswith(".interfaces")
        )

    if own(COUNTS):
        return "counts"
    return "pair" if own(TOWER_COUNT) and own(CONNECTOR_COUNT) else None


def _ask_model(
    model_class: type[Any],
    manager_class: type[Any] | None,
    generation: str | None,
    model: Any,
) -> dict[str, Any]:
    instance = object.__new__(model_class)
    # The class is a torch module: its own __setattr__ wants a finished one.
    config = _config(model["config"])
    object.__setattr__(instance, "config", config)
    _prepare(instance, config)
    answer: dict[str, Any] = {
        "name": model["name"],
        "mapping": None,
        "wrappers": {},
        "counts": [],
    }
    if hasattr(model_class, "get_mm_mapping"):
        mapping = model_class.get_mm_mapping(instance)
        answer["mapping"] = {field: _strings(getattr(mapping, field)) for field in KINDS}
        if manager_class is not None:
            answer["wrappers"] = _wrappers(manager_class, mapping, model["paths"])
    if generation is not None:
        count = _count_hook(instance, generation)
        answer["counts"] = [_outcome(count, case) for case in model["cases"]]
    return answer


def _wrappers(manager_class: type[Any], mapping: Any, paths: Iterable[str]) -> dict[str, Any]:
    """vLLM's own choice for each module path, with a name in the place of every wrapper."""
    manager = object.__new__(manager_class)
    manager.supports_mm = True
    manager.supported_modules_to_save = set()
    manager.mm_mapping = mapping
    manager.punica_wrapper_mapping = {
        prefix: KINDS[field] for field in KINDS for prefix in _strings(getattr(mapping, field))
    }
    return {path: manager._get_punica_wrapper(path) for path in paths}


def _config(content: Mapping[str, Any]) -> Any:
    """transformers' config object; vLLM's own where transformers has none of that type, and plain
    attributes where the class is code in a checkpoint's folder."""
    from transformers import CONFIG_MAPPING

    kind = content["model_type"]
    if kind in CONFIG_MAPPING:
        return CONFIG_MAPPING[kind].from_dict(dict(content))
    from vllm.transformers_utils.config import _CONFIG_REGISTRY

    if kind in _CONFIG_REGISTRY:
        return _CONFIG_REGISTRY[kind].from_dict(dict(content))
    return json.loads(json.dumps(content), object_hook=lambda part: SimpleNamespace(**part))


def _prepare(instance: Any, config: Any) -> None:
    """What a class's hook reads of a finished model, computed as its own __init__ does."""
    preparation = families.PREPARE.get(type(instance).__name__)
    if preparation is not None:
        for name, value in preparation(config).items():
            object.__setattr__(instance, name, value)


def _count_hook(instance: Any, generation: str) -> Callable[[Any], Sequence[int | None]]:
    """(tower rows, connector rows) for a medium's placeholders, as the model runner asks it."""

    def counts(case: Any) -> Sequence[int | None]:
        answer: tuple[int, int | None] = instance.get_mm_lora_token_counts(
            modality=case["medium"],
            mm_kwargs=_Shapes(case["shapes"]) if case["shapes"] else None,
            num_mm_embeds=case["tokens"],
        )
        return answer

    def pair(case: Any) -> Sequence[int | None]:
        tower = instance.get_num_mm_encoder_tokens(case["tokens"])
        return tower, instance.get_num_mm_connector_tokens(tower)

    return counts if generation == "counts" else pair


class _Shapes(dict[str, Any]):
    """An item's tensors as a hook reads them: by name, each with `.data` of the given shape."""

    def __init__(self, shapes: Mapping[str, Sequence[int]]) -> None:
        import torch

        class Element:
            def __init__(self, shape: Sequence[int]) -> None:
                self.data = torch.empty(tuple(shape), device="meta")

        super().__init__({name: Element(shape) for name, shape in shapes.items()})


def _outcome(count: Callable[[Any], Sequence[int | None]], case: Any) -> dict[str, Any]:
    try:
        tower, connector = count(case)
    except Exception as error:  # what vLLM does with a wrong number is what is asked
        return {"tokens": case["tokens"], "raised": f"{type(error).__name__}: {error}"}
    return {"tokens": case["tokens"], "tower": tower, "connector": connector}


def _strings(value: Any) -> list[str]:
    if value is None:
        return []
    return [value] if isinstance(value, str) else [str(entry) for entry in value]


if __name__ == "__main__":
    sys.exit(main())
