"""Module groups: every path has one group, and targets become the expressions that PEFT takes."""

import re

import pytest

from mm_lora.adapters.sets import projections
from mm_lora.adapters.spec import of_groups, of_targets
from mm_lora.core.errors import UsageError
from mm_lora.families import registry
from mm_lora.families.llama4.modules import LANGUAGE_ATTENTION

LLAMA4 = registry.family("llama4")
GROUPS = LLAMA4.groups

PATHS = {
    "vision_model.model.layers.33.self_attn.q_proj": ("tower-attention", "tower"),
    "vision_model.model.layers.0.self_attn.o_proj": ("tower-attention", "tower"),
    "vision_model.model.layers.0.mlp.fc2": ("tower-mlp", "tower"),
    "vision_model.patch_embedding.linear": ("patch-embedding", "tower"),
    "vision_model.vision_adapter.mlp.fc1": ("vision-adapter", "connector"),
    "multi_modal_projector.linear_1": ("projector", "connector"),
    "language_model.model.layers.47.self_attn.k_proj": ("language-model", "language"),
    "language_model.model.layers.1.feed_forward.shared_expert.up_proj": (
        "language-model",
        "language",
    ),
    "language_model.model.layers.0.feed_forward.down_proj": ("language-model", "language"),
}


@pytest.mark.parametrize(("path", "expected"), PATHS.items())
def test_group_and_wrapper(path: str, expected: tuple[str, str]) -> None:
    group = LLAMA4.group_of(path)
    assert group is not None
    assert (group.name, group.role) == expected
    assert [other.name for other in GROUPS.values() if other.has(path)] == [group.name]


@pytest.mark.parametrize(
    "path",
    [
        "language_model.model.layers.0.feed_forward.router",
        "language_model.model.layers.0.feed_forward.experts",
        "language_model.model.layers.0.feed_forward.experts.gate_up_proj",
        "language_model.lm_head",
        "language_model.model.embed_tokens",
        "vision_model.model.layers.0.self_attn",
        "base_model.model.multi_modal_projector.linear_1",
    ],
)
def test_in_no_group(path: str) -> None:
    assert LLAMA4.group_of(path) is None


@pytest.mark.parametrize("group", GROUPS)
def test_a_group_as_targets_is_the_whole_group(group: str) -> None:
    pattern = of_targets("x", [GROUPS[group].target]).pattern
    for path, (name, _) in PATHS.items():
        assert bool(re.fullmatch(pattern, path)) is (name == group)


def test_language_model_has_two_parts() -> None:
    attention = of_targets("x", [LANGUAGE_ATTENTION]).pattern
    known = projections(LLAMA4)
    mlp = "|".join(known[f"language-{name}_proj"].pattern for name in ("gate", "up", "down"))
    language = [path for path, (name, _) in PATHS.items() if name == "language-model"]
    assert [bool(re.fullmatch(attention, path)) for path in language] == [True, False, False]
    assert [bool(re.fullmatch(mlp, path)) for path in language] == [False, True, True]


def test_targets_are_globs_and_groups_are_taken_as_they_are() -> None:
    pattern = of_targets("x", ["*.layers.[01].*.q_proj", "a?b"]).pattern
    assert pattern == r"(.*\.layers\.[01]\..*\.q_proj)|(a.b)"
    assert of_groups(LLAMA4, "x", ["projector"]).pattern == GROUPS["projector"].pattern


def test_unknown_group() -> None:
    with pytest.raises(UsageError, match="no module group 'tower'"):
        of_groups(LLAMA4, "x", ["tower"])
