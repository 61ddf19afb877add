"""Module groups: every path has one group, and targets become the expressions that PEFT takes."""

import re

import pytest

from mm_lora.families.llama4.modules import (
    GROUPS,
    LANGUAGE_ATTENTION,
    LANGUAGE_MLP,
    TARGETS,
    group_of,
    target_pattern,
)

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
    group = group_of(path)
    assert group is not None
    assert (group.name, group.wrapper) == expected
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
    assert group_of(path) is None


@pytest.mark.parametrize("group", TARGETS)
def test_a_group_as_targets_is_the_whole_group(group: str) -> None:
    pattern = target_pattern(targets=[TARGETS[group]])
    for path, (name, _) in PATHS.items():
        assert bool(re.fullmatch(pattern, path)) is (name == group)


def test_language_model_has_two_parts() -> None:
    attention, mlp = (
        target_pattern(targets=[LANGUAGE_ATTENTION]),
        target_pattern((), [LANGUAGE_MLP]),
    )
    language = [path for path, (name, _) in PATHS.items() if name == "language-model"]
    assert [bool(re.fullmatch(attention, path)) for path in language] == [True, False, False]
    assert [bool(re.fullmatch(mlp, path)) for path in language] == [False, True, True]


def test_targets_override_groups() -> None:
    pattern = target_pattern(["tower-mlp"], ["*.layers.[01].*.q_proj", "a?b"])
    assert pattern == r"(.*\.layers\.[01]\..*\.q_proj)|(a.b)"
    assert target_pattern(["projector"]) == GROUPS["projector"].pattern


def test_unknown_group() -> None:
    with pytest.raises(KeyError):
        target_pattern(["tower"])
