"""What features of vLLM are asked with, and what is read of whether they were on."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from mm_lora.checks.judging import Judge
from mm_lora.checks.states import embeds
from mm_lora.checks.states.company import Drafts, adapter_of, drafts
from mm_lora.checks.states.features import default, guessing, with_default
from mm_lora.checks.states.forced import judge_forced
from mm_lora.core.asking import BASE, Answer, Embeds, Picture, Request
from mm_lora.core.outcomes import NotPassed, Outcome, Verdict
from mm_lora.families import registry
from mm_lora.serving.client import messages, options
from mm_lora.serving.metrics import read_metrics
from mm_lora.serving.probe_records import Request as Scheduled
from mm_lora.serving.probe_records import Step
from mm_lora.truth.reference import Forced

PICTURE = Picture(width=64, height=64)
COUNTED = """# HELP vllm:request_success_total Count of successfully processed requests.
# TYPE vllm:request_success_total counter
vllm:request_success_total{engine="0",finished_reason="stop",model_name="base"} 1.0
vllm:request_success_total{engine="0",finished_reason="length",model_name="a \\"b\\""} 4.0
vllm:request_success_total{engine="1",finished_reason="length",model_name="base"} 3.0
process_open_fds 68.0
vllm:e2e_request_latency_seconds_bucket{engine="0",le="+Inf"} 5e+00
"""


def test_counts_are_read_by_name_and_labels() -> None:
    found = read_metrics(COUNTED)
    assert found.total("vllm:request_success_total") == 8
    assert found.total("vllm:request_success_total", engine="0") == 5
    assert found.total("vllm:request_success_total", engine="1", finished_reason="stop") == 0
    assert found.total("process_open_fds") == 68
    assert found.total("vllm:e2e_request_latency_seconds_bucket", le="+Inf") == 5
    assert found.total("nothing") == 0


def step(tokens: int, name: str = "a", worker: str = "w", kind: str = "language") -> Step:
    rows = (Scheduled(name, "x", tokens, ()),)
    return Step(worker=worker, seq=1, number=1, kind=kind, requests=rows, calls=())


def answer(prompt: int, tokens: int) -> Answer:
    empty: dict[str, Any] = {"token_ids": (), "logprobs": (), "finish_reason": ""}
    counts = {"prompt_tokens": prompt, "completion_tokens": tokens}
    return Answer(model="x", text="", id="a", **counts, **empty)


def test_guesses_are_what_a_step_has_beside_its_last_token() -> None:
    read = [step(4, kind="encoder"), step(8), step(4)]
    assert drafts([*read, step(1), step(1)], answer(12, 3)) == Drafts(0, 0)
    # Four tokens each: 1 and 3 guesses, of which the first step accepts 2 and the second none.
    assert drafts([*read, step(4), step(4)], answer(12, 5)) == Drafts(6, 2)
    others = [step(4, "b"), step(4, worker="v")]
    assert drafts([*read, *others, step(2)], answer(12, 2)) == Drafts(1, 0)
    assert Drafts(1, 0) + Drafts(2, 1) == Drafts(3, 1)


def test_the_adapters_of_a_request_are_those_of_its_steps() -> None:
    assert adapter_of([step(1), step(1, "b")], answer(1, 1)) == {"x"}
    assert adapter_of([step(1, "b")], answer(1, 1)) == set()


def test_rows_go_in_the_place_of_a_picture(tmp_path: Path) -> None:
    file = tmp_path / "rows.npy"
    file.write_bytes(b"rows")
    plain = Request(model="x", pictures=(PICTURE,), embeds=Embeds(str(file)))
    rows, text = messages(plain)[0]["content"]
    assert rows == {"type": "image_embeds", "image_embeds": "cm93cw=="}
    assert text["type"] == "text"
    beside = Embeds(str(file), (("grid", (1, 2, 3)),))
    told, _ = messages(Request(model="x", pictures=(PICTURE,), embeds=beside))[0]["content"]
    assert told["image_embeds"] == {"image_embeds": "cm93cw==", "grid": [1, 2, 3]}


def test_an_engine_is_named_in_a_header() -> None:
    assert "extra_headers" not in options(Request(model="x"))
    told = options(Request(model="x", engine=1))
    assert told["extra_headers"] == {"X-data-parallel-rank": "1"}


def test_the_default_has_a_slot_of_its_own_and_one_is_free() -> None:
    for family in registry.families().values():
        flags = default(family)
        assert flags["max-loras"] == len(with_default(family)) + 2
        assert str(flags["default-mm-loras"]) == f'{{"{family.media[0]}": "all"}}'
        assert "ngram" in str(guessing(family)["speculative-config"])


def test_rows_are_sent_where_the_family_says_how() -> None:
    for family in registry.families().values():
        found = embeds.ways(family)
        assert [one.values[0] for one in found] == list(embeds.WAYS)
        skipped = {bool(one.marks) for one in found}
        assert skipped == {family.beside_embeds is None}


def by_default(model: str, logprob: float) -> Verdict:
    """What is judged of the base's request about a picture, for which `all` is to answer."""
    truth = Forced(token_ids=(1,), adapted=(-1.0,), base=(-2.0,), prompt_tokens=9, predicted={})
    served = SimpleNamespace(
        base=BASE, family=registry.family("llama4"), forced=lambda *told, **named: truth
    )
    context = SimpleNamespace(table=lambda *told: SimpleNamespace(add=lambda *row: None))
    given = Answer(
        model=model,
        text="six",
        token_ids=(1,),
        logprobs=(logprob,),
        prompt_tokens=9,
        completion_tokens=1,
        finish_reason="length",
    )
    request = Request(model=BASE, pictures=(PICTURE,), max_tokens=1)
    check = Judge(tolerance=1e-3, min_effect=0.05)
    told = (check, cast(Any, context), cast(Any, served), "default", request, given)
    judge_forced(*told, whose="all", named="image")
    return check.verdict()


def test_who_answers_by_default_is_judged_by_numbers_then_by_name() -> None:
    assert by_default("image", -1.0).outcome is Outcome.PASS
    with pytest.raises(NotPassed) as wrong:
        by_default(BASE, -2.0)
    assert wrong.value.verdict.predicted_by == ("as-the-base",)
    with pytest.raises(NotPassed) as named:
        by_default(BASE, -1.0)
    assert "another's name" in named.value.verdict.reason
