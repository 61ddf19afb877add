"""What every family promises: paths, rows, names, configs and known numbers, in the same words."""

import itertools
import json
import re
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

import pytest

from mm_lora.adapters.peft_variants import peft_variants
from mm_lora.adapters.relatives import relatives
from mm_lora.adapters.sets import known, projections, standard
from mm_lora.checks import roles
from mm_lora.core.asking import BASE, Picture, Shown
from mm_lora.families import registry
from mm_lora.families.family import Family
from mm_lora.families.models import resolve
from mm_lora.families.modules import CONNECTOR, LANGUAGE, PROMPT, ROLES, TOWER, ModuleGroup
from mm_lora.truth.build import processor_files

FAMILIES = tuple(registry.families().values())
MODELS = tuple(registry.published())
SHARED_NAMES = {"pr35147"}
"""An adapter and a model may be called the same only here: the pull request has one of each."""

each_family = pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.name)
each_model = pytest.mark.parametrize("name", MODELS)


def samples(group: ModuleGroup) -> list[str]:
    """PEFT paths of the group: its globs with layer 0 for a star, any letter for one letter."""
    found = []
    for glob in (*group.projections.values(), group.target):
        plain = glob.replace(".*.", ".0.").replace("*", "")
        parts = re.split(r"(\?|\[[^]]+\])", plain)
        letters = ["qkvo0123456789" if part == "?" else part[1:-1] for part in parts[1::2]]
        for chosen in itertools.product(*letters):
            ends = (*chosen, "")
            path = "".join(a + b for a, b in zip(parts[::2], ends, strict=True))
            found += [path] if group.has(path) else []
    return list(dict.fromkeys(found))


def parts_of(family: Family, layer: str) -> list[str]:
    """vLLM's names of the modules that a layer of vLLM's may serve: those it packs, and itself."""
    parent, dot, last = layer.rpartition(".")
    packed = [name for name, whole in family.packed.items() if whole == last]
    return [*(f"{parent}{dot}{name}" for name in packed), layer]


def pictures(family: Family) -> Iterator[Shown]:
    for role in ("one", "few", "many"):
        yield family.sizes.picture(role)


def test_no_name_means_two_things() -> None:
    assert [family.name for family in FAMILIES] == list(registry.families())
    for said in (
        # A family may be named as its default model, which its name stands for.
        [family.name for family in FAMILIES if family.name != family.published[0]] + list(MODELS),
        [family.package for family in FAMILIES],
        [kind for family in FAMILIES for kind in family.model_types],
        [name for family in FAMILIES for name in family.published],
    ):
        assert said
        assert len(said) == len(set(said))


@each_family
def test_what_a_family_says_of_itself(family: Family) -> None:
    assert family.title
    assert family.published
    assert family.special_tokens
    assert family.chat_template
    assert family.groups.keys() == {group.name for group in family.groups.values()}
    # vLLM's class may have no connector, and a connector no layer that takes an adapter.
    taken = {group.role for group in family.groups.values()}
    assert {TOWER, LANGUAGE} <= taken <= set(ROLES)
    assert taken - {LANGUAGE} <= set(family.mapped) <= {TOWER, CONNECTOR}
    assert set(family.repositories.values()) <= set(family.published)
    labels = [family.sizes.labels[role] for role in ("one", "few", "many")]
    assert len(set(labels)) == 3
    assert len(set(pictures(family))) == 3


@each_family
def test_paths_lead_to_vllm_and_back(family: Family) -> None:
    for group in family.groups.values():
        mine = samples(group)
        assert mine, f"no path of {group.name} by its own globs"
        for path in mine:
            assert family.from_vllm(family.to_vllm(path)) == path
            assert [other.name for other in family.groups.values() if other.has(path)] == [
                group.name
            ]
    for layer in family.prefix_cases:
        assert family.to_vllm(family.from_vllm(layer)) == layer


@each_family
def test_a_groups_layers_have_its_role(family: Family) -> None:
    for group in family.groups.values():
        for path in samples(group):
            layer = family.layer_of(path)
            assert family.group_of_layer([family.to_vllm(path)]) == group
            assert family.role_of_layer(layer, [family.to_vllm(path)]) == group.role
            assert family.to_vllm(path) in parts_of(family, layer)
            assert family.role_of_path(layer) in (None, group.role)


@each_family
def test_prefixes_are_asked_of_a_layer_of_every_group(family: Family) -> None:
    asked = set()
    for layer, role in family.prefix_cases.items():
        parts = parts_of(family, layer)
        assert family.role_of_layer(layer, parts) == role, layer
        assert family.role_of_path(layer) in (None, role), layer
        group = family.group_of_layer(parts)
        if group is not None:
            assert group.role == role, layer
            asked.add(group.name)
    assert asked == set(family.groups)


@each_model
def test_every_published_config_resolves(name: str) -> None:
    model = resolve(name)
    assert (model.name, model.family) == (name, registry.published()[name])
    assert model.source
    assert model.known
    assert (model.path, model.weights, model.is_real) == (None, None, False)
    assert registry.family_of(model.config).name == (model.family.beside or model.family.name)
    assert model.family.describe(model.layout)


@each_model
def test_a_picture_has_rows_for_every_group(name: str) -> None:
    model = resolve(name)
    family = model.family
    for picture in pictures(family):
        flow = family.flow(model.layout, picture)
        assert picture == family.sizes.drawn(flow.size)
        assert flow.medium in family.media
        for group in family.groups.values():
            assert group.rows == PROMPT or flow.rows[group.rows] > 0, group.name
        for role in family.mapped:
            assert family.mapped_rows(flow, role) == flow.rows[family.mapped[role]] > 0
        assert 0 < flow.tokens <= flow.prompt_tokens
        assert flow.units >= 1
        assert all(isinstance(value, int) for value in flow.as_json().values())


@each_model
def test_a_steps_passes_and_calls_leave_no_row_out(name: str) -> None:
    model = resolve(name)
    family = model.family
    flows = [family.flow(model.layout, picture) for picture in pictures(family)]
    passes = family.passes(flows)
    assert sorted(at for one in passes for at in one) == [0, 1, 2]
    for group in family.vision:
        seen = [0, 0, 0]
        for one in passes:
            for call in family.calls([flows[at] for at in one], group.rows):
                for place, rows in call:
                    seen[one[place]] += rows
        assert seen == [flow.rows[group.rows] for flow in flows], group.name


def test_each_kind_of_medium_is_one_pass_of_a_step_where_vllm_sorts_them() -> None:
    model = resolve("qwen3-vl")
    picture, video = (
        model.family.flow(model.layout, medium)
        for medium in (Picture(width=112, height=112), model.family.sizes.video())
    )
    step = [video, picture, video, picture]
    assert model.family.passes(step) == [[1, 3], [0, 2]]
    assert model.family.passes(step, by_kind=False) == [[0], [1], [2], [3]]
    assert model.family.passes(step[::2] + step[1::2], by_kind=False) == [[0, 1], [2, 3]]


@each_model
def test_more_units_are_more_rows(name: str) -> None:
    model = resolve(name)
    one, _, many = (model.family.flow(model.layout, p) for p in pictures(model.family))
    if not model.family.sizes.grows:
        # The tower is given the same; what is left behind it may be up to the picture's shape.
        tower = model.family.mapped[TOWER]
        assert one.rows[tower] == many.rows[tower]
        return
    assert many.tokens > one.tokens
    assert all(many.rows[group.rows] > one.rows[group.rows] for group in model.family.vision)


@each_family
def test_known_flows_are_met(family: Family) -> None:
    assert family.known_flows
    for known_flow in family.known_flows:
        assert known_flow.model in family.published
        assert known_flow.source
        picture = family.sizes.drawn((known_flow.width, known_flow.height))
        said = family.flow(resolve(known_flow.model).layout, picture).as_json()
        assert said[known_flow.quantity] == known_flow.value, known_flow


@each_model
def test_the_count_hook_is_asked_what_pictures_need(name: str) -> None:
    model = resolve(name)
    cases = model.family.hook_cases(model.layout)
    labels = [case.label for case in cases]
    assert len(labels) == len(set(labels))
    right = {(case.medium, case.tokens): case for case in cases if case.has_answer}
    assert right
    for picture in pictures(model.family):
        flow = model.family.flow(model.layout, picture)
        case = right.get((flow.medium, flow.tokens))
        if case is not None and not case.shapes:
            rows = tuple(model.family.mapped_rows(flow, role) for role in (TOWER, CONNECTOR))
            assert (case.tower or 0, case.connector or 0) == rows


@each_family
def test_every_adapter_has_one_name_of_its_own(family: Family) -> None:
    sets = [standard(family), projections(family), peft_variants(family), relatives(family)]
    names = [name for one in sets for name in one]
    assert len(names) == len(set(names))
    assert set(names) <= set(known(family))
    assert all(spec.name == name for name, spec in known(family).items())
    taken = {*MODELS, *registry.families(), BASE, "server"}
    assert set(known(family)) & taken <= SHARED_NAMES
    assert taken >= SHARED_NAMES


@each_family
def test_every_adapter_has_modules(family: Family) -> None:
    paths = [path for group in family.groups.values() for path in samples(group)]
    for name, spec in known(family).items():
        found = {
            group.role
            for path in paths
            for number in ("0", "1", "2")
            if re.fullmatch(spec.pattern, path.replace(".0.", f".{number}."))
            and (group := family.group_of(path))
        }
        assert found, name
        assert not spec.roles or set(spec.roles) == found, name


@each_family
def test_roles_name_adapters_that_there_are(family: Family) -> None:
    there = set(known(family))
    for role in (
        *(roles.towers, roles.connectors, roles.vision, roles.language, roles.groups),
        *(roles.everyone, roles.projections, roles.subjects, roles.one_each),
        *(roles.first_tower, roles.first_connector, roles.last_connector),
    ):
        names = role(family)
        assert names, role.__name__
        assert set(names) <= there, role.__name__
    for kind in roles.roles(family):
        first, second = roles.pair(family, kind)
        assert first != second
        assert {first, second} <= there
    assert not set(roles.everyone(family)) & set(roles.unwrapped(family))
    assert {name for name, _ in family.core_numbers} <= there
    assert not family.later or family.later in there


@each_family
def test_the_good_adapter_has_what_bad_ones_are_made_of(family: Family) -> None:
    good = family.good
    pattern = known(family)[good.adapter].pattern
    for number, name in itertools.product("01", (good.fused, good.plain)):
        found = [
            path
            for group in family.groups.values()
            for path in (one.replace(".0.", f".{number}.") for one in samples(group))
            if path.endswith(f".{good.parent}.{name}") and re.fullmatch(pattern, path)
        ]
        assert found, f"{name} of layer {number}"
    assert good.fused in family.packed
    assert good.plain not in family.packed


@each_model
def test_the_miniature_counts_as_the_published_model(name: str, tmp_path: Path) -> None:
    model = resolve(name)
    files = processor_files(model)
    for file, content in files["files"].items():
        (tmp_path / file).write_text(json.dumps(content), encoding="utf-8")
    small = json.loads(json.dumps(files["config"]))
    assert registry.family_of(small).name == (model.family.beside or model.family.name)
    assert model.family.layout(small, tmp_path) == model.layout
    assert json.loads(json.dumps(asdict(model.layout)))


@each_model
def test_the_processor_is_asked_of_pictures_alone_and_together(name: str) -> None:
    model = resolve(name)
    prompts = model.family.questions(model.layout)
    assert any(len(prompt) == 1 for prompt in prompts)
    together = max(model.family.limits.values()) > 1
    assert together == any(len(prompt) > 1 for prompt in prompts)
    alone = [prompt[0].name for prompt in prompts if len(prompt) == 1]
    assert len(alone) == len(set(alone))
    for prompt in prompts:
        for picture in prompt:
            assert model.family.flow(model.layout, picture.asked).size == picture.seen_size
