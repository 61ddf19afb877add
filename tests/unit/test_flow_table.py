"""The token-flow table: every way fills its own column, and an unasked cell says so."""

import pytest

from mm_lora.checks import flow_table, processor_question
from mm_lora.core.table import Tables
from mm_lora.families import registry
from mm_lora.families.flow import HookCase
from mm_lora.families.models import resolve
from mm_lora.serving.hook_client import HookAnswer, HookCount


@pytest.mark.parametrize(("name", "chunks"), [("scout", [1, 3, 7, 17]), ("pr35147", [1, 1, 3, 11])])
def test_pictures(name: str, chunks: list[int]) -> None:
    flows = flow_table.table_flows(resolve(name), 3840)
    assert [flow.units for flow in flows] == chunks


def test_the_longest_picture_fits() -> None:
    (*_, most) = flow_table.table_flows(resolve("scout"), 1016)
    assert (most.units, most.prompt_tokens) == (6, 872)


def test_each_way_fills_its_column() -> None:
    tables = Tables()
    for name in ("maverick", "scout"):
        model = resolve(name)
        flows = flow_table.table_flows(model, 3840)
        flow_table.note(tables, model, flow_table.MEASURED, {(336, 336): "577 / 144"})
        counts = tuple(HookCount(f.tokens, f.rows["encoder"], f.rows["connector"]) for f in flows)
        cases = [HookCase(label=f.name, tokens=f.tokens) for f in flows]
        cells = flow_table.hook_cells(flows, cases, HookAnswer(name, None, {}, counts))
        flow_table.note(tables, model, flow_table.HOOK, cells)
        said = [{"image_tokens": f.tokens, "prompt_tokens": f.prompt_tokens} for f in flows]
        cells = flow_table.transformers_cells(flows, said)
        flow_table.note(tables, model, flow_table.TRANSFORMERS, cells)
    table = tables[flow_table.NAME]
    assert [row[0] for row in table.rows] == ["maverick"] * 4 + ["scout"] * 4
    first, *rest = table.rows[4:]
    assert first[3:] == ["336×336", 1, "577 / 144", "144 / 147", "577 / 144", "577 / 144"]
    assert [row[4] for row in rest] == [3, 7, 17]
    assert {row[-1] for row in rest} == {None}
    assert {row[-1] for row in table.shown()[5:]} == {flow_table.NOT_ASKED}


def test_a_hook_that_raises_is_shown() -> None:
    flows = flow_table.table_flows(resolve("scout"), 200)[:1]
    cases = [HookCase(label="1 chunks", tokens=144, tower=577, connector=144)]
    answer = HookAnswer("scout", None, {}, (HookCount(144, raised="ValueError: no"),))
    assert flow_table.hook_cells(flows, cases, answer) == {(336, 336): "ValueError: no"}


def test_the_pull_requests_row_carries_its_label() -> None:
    tables = Tables()
    for name in registry.family("llama4").published:
        flow_table.note(tables, resolve(name), flow_table.MEASURED, {(336, 336): "x"})
    labels = {row[0]: row[2] for row in tables[flow_table.NAME].rows}
    assert labels["pr35147"] == "the pull request's; not seen in a published config"
    assert labels["scout"].startswith("published checkpoint: ")


PUBLISHED = [name for family in registry.families().values() for name in family.published]


@pytest.mark.parametrize("name", PUBLISHED)
def test_the_processor_is_asked_about_every_picture_of_the_table(name: str) -> None:
    model = resolve(name)
    alone = {one[0].seen_size for one in processor_question.prompts(model) if len(one) == 1}
    assert {flow.size for flow in flow_table.table_flows(model, 3000)} <= alone
