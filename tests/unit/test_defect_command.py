"""`mm-lora defect`: which entries are listed, and what is said of one."""

import json
from dataclasses import replace

import pytest
from typer.testing import CliRunner

from mm_lora.checks import defects
from mm_lora.cli.app import app
from mm_lora.cli.commands import defect
from mm_lora.core.errors import UsageError
from mm_lora.families import registry
from mm_lora.inside.catalogue import PATCHES

ENTRIES = defects.load()
VERSIONS = ("0.32.0", "0.28.0", "0.17.0", "0.16.0")


def printed(*words: str) -> str:
    result = CliRunner().invoke(app, ["defect", *words])
    assert result.exit_code == 0, result.output
    return result.output


def test_a_list_by_version_and_family() -> None:
    assert {one.id for one in defect.chosen(ENTRIES, None, None)} == {one.id for one in ENTRIES}
    newest = {one.id for one in defect.chosen(ENTRIES, "0.32.0", None)}
    assert "llama4-qk-lora-rows" in newest
    assert not defect.chosen(ENTRIES, "0.99.0", None)
    of_qwen = defect.chosen(ENTRIES, "0.32.0", "qwen2.5-vl")
    assert of_qwen
    assert all(not one.families or "qwen2.5-vl" in one.families for one in of_qwen)


@pytest.mark.parametrize(
    ("version", "family", "said"), [("new", None, "version"), (None, "no-such", "no-such")]
)
def test_what_cannot_be_chosen(version: str | None, family: str | None, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        defect.chosen(ENTRIES, version, family)


def test_a_wrong_id_names_the_nearest() -> None:
    with pytest.raises(UsageError) as error:
        defect.named(ENTRIES, "llama4-qk-rows")
    assert "llama4-qk-lora-rows" in error.value.check
    with pytest.raises(UsageError):
        defect.named(ENTRIES, "zzz")


@pytest.mark.parametrize("entry", ENTRIES, ids=lambda one: one.id)
def test_every_entry_can_be_shown(entry: defects.Defect) -> None:
    text = "\n".join(defect.lines(entry))
    shows, fixed = defect.commands(entry)
    assert shows in text
    assert registry.published()[defect.model_of(entry)]
    seen = next(one for one in VERSIONS if entry.seen_in(one, entry.platform))
    smallest = entry.smallest.format(model=defect.model_of(entry))
    assert not smallest or entry.concerns(smallest, seen, entry.platform)
    if entry.fix:
        assert fixed.endswith("--with-fixes")
        assert any(patch.id == entry.fix for patch in PATCHES)


def test_without_a_smallest_case_all_that_may_fail_are_shown() -> None:
    entry = replace(defect.named(ENTRIES, "slots-of-waiting-adapters"), smallest="")
    shows, _ = defect.commands(entry)
    assert (
        "--only states/scout/waits-for-encoder/one-slot --only 'isolation/scout/*few-slots' "
        in (shows)
    )
    assert "not in every run: only as requests meet" in "\n".join(defect.lines(entry))


def test_a_smallest_case_may_name_its_model() -> None:
    entry = defect.named(ENTRIES, "gemma4-keys-as-values")
    shows, _ = defect.commands(entry)
    assert "--model gemma4-31b --only numerics/gemma4-31b/language-k_proj/text-only" in shows


def test_the_command_prints_both() -> None:
    assert "llama4-qk-lora-rows" in printed("list", "--vllm", "0.32.0")
    document = json.loads(printed("list", "--family", "llama4", "--json"))
    assert document["schema"] == defect.SCHEMA
    one = json.loads(printed("show", "adapter-of-another-class-ignored", "--json"))
    assert one["upstream"][0] == "https://github.com/vllm-project/vllm/pull/34186"
    said = printed("show", "llama4-qk-lora-rows")
    assert "--model scout" in said
    assert "fix:      llama4-qk-lora-rows: " in said


def test_show_has_what_it_means_and_who_is_without_it() -> None:
    said = printed("show", "rank-pattern-ignored")
    assert "means:    for an adapter, modules in its rank_pattern" in said
    assert "without:  vLLM 0.32.0" in said
