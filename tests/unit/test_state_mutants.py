"""Each mutant of a state loses the adapter there and not before, on a stand-in for vLLM's batch."""

from types import ModuleType, SimpleNamespace
from typing import Any, ClassVar

import numpy as np
import pytest

from mm_lora.inside.hooks import HookGone
from mm_lora.inside.mutants import states

BY_ID = {patch.id.removeprefix("mutant-"): patch for patch in states.PATCHES}
CHAT = ("chatcmpl-1", "chatcmpl-2")


def patched(name: str, **classes: type) -> None:
    """Apply a mutant to a module that has these classes."""
    module = ModuleType("vllm")
    for own, kind in classes.items():
        setattr(module, own, kind)
    BY_ID[name].apply(module)


def batch_class() -> type:
    class InputBatch:
        """Two requests of 10 prompt tokens, of the adapters 5 and 6."""

        num_reqs = 2
        req_ids: Any = CHAT

        def __init__(self, computed: Any = (0, 0)) -> None:
            self.num_prompt_tokens = np.array([10, 10, 0])
            self.num_computed_tokens_cpu = np.array([*computed, 0])
            self.request_lora_mapping = np.array([5, 6, 0])

        def add_request(self, request: Any) -> None:
            pass

        def make_lora_inputs(self, scheduled: Any, sampled: Any) -> Any:
            mapping = self.request_lora_mapping[: self.num_reqs]
            return tuple(mapping.repeat(sampled)), tuple(mapping.repeat(scheduled)), {"a"}

    return InputBatch


def rows(batch: Any, *scheduled: int) -> tuple[int, ...]:
    """The adapter of each row; what was mapped is as before."""
    before = batch.request_lora_mapping.tolist()
    of_answers, of_rows, _ = batch.make_lora_inputs(np.array(scheduled), np.ones(2, dtype=int))
    assert batch.request_lora_mapping.tolist() == before
    assert len(of_answers) == 2
    return tuple(int(row) for row in of_rows)


def test_late_tokens_lose_it() -> None:
    kind = batch_class()
    patched("late-tokens", InputBatch=kind)
    assert rows(kind((0, 49)), 2, 1) == (5, 5, 6)
    assert rows(kind((0, 50)), 2, 1) == (5, 5, 0)


def test_far_positions_lose_it() -> None:
    kind = batch_class()
    patched("far-positions", InputBatch=kind)
    assert rows(kind((1498, 20)), 3, 1) == (5, 5, 0, 6)
    of_answers, _, _ = kind((1498, 1500)).make_lora_inputs(np.array([2, 1]), np.ones(2, dtype=int))
    assert of_answers == (5, 0)


@pytest.mark.parametrize(
    ("mutant", "names", "mapped"),
    [
        ("later-answers", ("0_chatcmpl-a-9f", "1_chatcmpl-a-9f"), (5, 0)),
        ("later-answers", CHAT, (5, 6)),
        ("later-beams", ("chatcmpl-a-1f-beam-0-8c", "chatcmpl-a-1f-beam-2-8c"), (5, 0)),
        ("completions-base", ("0_cmpl-a-0-9f", "chatcmpl-1"), (0, 6)),
    ],
)
def test_some_of_several_answers_lose_it(mutant: str, names: Any, mapped: Any) -> None:
    kind = batch_class()
    patched(mutant, InputBatch=kind)
    batch = kind()
    batch.req_ids = names
    assert rows(batch, 1, 1) == mapped


def request(computed: int, answered: int = 0) -> Any:
    """Of 10 prompt tokens, a picture at 3 to 8."""
    picture = SimpleNamespace(mm_position=SimpleNamespace(offset=3, length=5))
    return SimpleNamespace(
        req_id=CHAT[1],
        num_computed_tokens=computed,
        num_tokens=10 + answered,
        output_token_ids=[1] * answered,
        mm_features=[picture],
    )


@pytest.mark.parametrize(
    ("mutant", "added", "mapped"),
    [
        ("lost-when-preempted", request(0), (5, 6)),
        ("lost-when-preempted", request(12, answered=3), (5, 6)),  # only left out of a step
        ("lost-when-preempted", request(0, answered=3), (5, 0)),
        ("lost-after-part-of-picture", request(0), (5, 6)),
        ("lost-after-part-of-picture", request(3), (5, 6)),
        ("lost-after-part-of-picture", request(8), (5, 6)),
        ("lost-after-part-of-picture", request(5), (5, 0)),
    ],
)
def test_what_comes_back_loses_it(mutant: str, added: Any, mapped: Any) -> None:
    kind = batch_class()
    patched(mutant, InputBatch=kind)
    batch = kind()
    batch.add_request(added)
    assert rows(batch, 1, 1) == mapped


@pytest.mark.parametrize(("answered", "mapped"), [(16, (6, 0)), (3, (5, 0))])
def test_who_left_leaves_its_adapter_behind(answered: int, mapped: Any) -> None:
    kind = batch_class()

    class GPUModelRunner:
        input_batch = kind()
        requests: ClassVar[Any] = {
            CHAT[0]: SimpleNamespace(
                output_token_ids=[1] * answered, sampling_params=SimpleNamespace(max_tokens=16)
            )
        }

        def _update_states(self, scheduled: Any) -> str:
            self.input_batch.num_reqs = 1
            self.input_batch.req_ids = CHAT[1:]
            self.input_batch.request_lora_mapping = np.array([6, 0, 0])
            return "done"

    patched("left-behind", InputBatch=kind, GPUModelRunner=GPUModelRunner)
    runner = GPUModelRunner()
    runner.input_batch.req_id_to_index = {CHAT[0]: 0, CHAT[1]: 1}
    assert runner._update_states(SimpleNamespace(finished_req_ids={CHAT[0]})) == "done"
    _, of_rows, _ = runner.input_batch.make_lora_inputs(np.array([1]), np.array([1]))
    assert int(of_rows[0]) == mapped[0]


class Hidden(np.ndarray[Any, Any]):
    """As much of a tensor as is needed."""

    def clone(self) -> Any:
        return self.copy()

    def roll(self, by: int, axis: int) -> Any:
        return np.roll(np.asarray(self), by, axis)


def test_a_prompt_is_read_one_row_off() -> None:
    class GPUModelRunner:
        num_prompt_logprobs: Any = dict.fromkeys(CHAT, 0)
        input_batch = SimpleNamespace(req_id_to_index={CHAT[0]: 0, CHAT[1]: 1})
        query_start_loc = SimpleNamespace(np=np.array([0, 3, 5]))
        requests: ClassVar[Any] = {
            CHAT[0]: SimpleNamespace(lora_request="a"),
            CHAT[1]: SimpleNamespace(lora_request=None),
        }

        def _get_prompt_logprobs_dict(self, hidden: Any, scheduled: Any) -> Any:
            return hidden[:, 0].tolist()

    patched("prompt-row-off", GPUModelRunner=GPUModelRunner)
    hidden = np.arange(5.0)[:, None].view(Hidden)
    scheduled = {CHAT[0]: 3, CHAT[1]: 2}
    wrong = GPUModelRunner()._get_prompt_logprobs_dict(hidden, scheduled)
    assert wrong == [2.0, 0.0, 1.0, 3.0, 4.0]


@pytest.mark.parametrize("patch", states.PATCHES, ids=lambda patch: patch.id)
def test_a_lost_hook_point_is_named(patch: Any) -> None:
    with pytest.raises(HookGone):
        patch.apply(ModuleType("empty"))
