"""Compares the token arithmetic with the counts of transformers' processor and vLLM's class.

Pure: takes recorded answers, returns the mismatches, so that a stored run can be judged again.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from mm_lora.checks.mismatch import Mismatch
from mm_lora.families.flow import Flow, HookCase
from mm_lora.serving.hook_client import HookAnswer, HookAnswers


def processor_mismatches(
    expected: Sequence[Flow], observed: Sequence[Mapping[str, Any]], *, where: str = ""
) -> list[Mismatch]:
    """Our flows of one prompt's media against the counts of `worker/processor_counts.py`.

    Every quantity that the processor's side counted is compared, `name` aside.
    """
    if len(expected) != len(observed):
        return [Mismatch(where, "pictures in the prompt", len(expected), len(observed))]
    found = []
    for flow, counts in zip(expected, observed, strict=True):
        ours, place = flow.as_json(), f"{where} {counts['name']}".strip()
        said = {key: value for key, value in counts.items() if key != "name"}
        if not said:
            found.append(Mismatch(place, "quantities counted", "at least one", "none"))
        found += [
            Mismatch(place, quantity, ours.get(quantity), value)
            for quantity, value in said.items()
            if value != ours.get(quantity)
        ]
    return found


def hook_mismatches(
    answer: HookAnswer, cases: Sequence[HookCase], roles: Mapping[str, str]
) -> list[Mismatch]:
    """The counts of our `cases`, and our `roles` (layer → wrapper kind), against vLLM's class.

    A case without a right answer is not compared (see `odd_counts`).
    """
    return [*_count_mismatches(answer, cases), *_wrapper_mismatches(answer, roles)]


def capability_mismatches(answers: HookAnswers) -> list[Mismatch]:
    """Hook points that are gone, and the capability flag where the hook's generation has one."""
    found = [Mismatch("vLLM", "hook point", name, "missing") for name in answers.missing]
    if answers.generation == "counts" and answers.flag is not True:
        found.append(Mismatch("vLLM", "supports_tower_connector_lora", True, answers.flag))
    return found


def odd_counts(answer: HookAnswer, cases: Sequence[HookCase]) -> list[tuple[str, str]]:
    """What vLLM's class says of numbers that no medium has: (what was asked, its answer)."""
    lines = []
    for case, count in zip(cases, answer.counts, strict=False):
        if case.has_answer:
            continue
        said = f"tower {count.tower}, connector {count.connector}"
        lines.append((case.label, f"raises {count.raised}" if count.raised else said))
    return lines


def _count_mismatches(answer: HookAnswer, cases: Sequence[HookCase]) -> Iterable[Mismatch]:
    if not any(case.has_answer for case in cases):
        yield Mismatch(answer.name, "counts with a right answer", "at least one", "none")
    if len(cases) != len(answer.counts):
        yield Mismatch(answer.name, "counts answered", len(cases), len(answer.counts))
    for case, count in zip(cases, answer.counts, strict=False):
        if not case.has_answer:
            continue
        where = f"{answer.name} {case.label}"
        if count.raised:
            yield Mismatch(where, "the count hook", "two counts", count.raised)
            continue
        for what, rows, said in (
            ("tower rows", case.tower, count.tower),
            ("connector rows", case.connector, count.connector),
        ):
            if case.least:
                if said is None or (rows or 0) > said:
                    yield Mismatch(where, f"{what} at least", rows, said)
            elif said != rows:
                yield Mismatch(where, what, rows, said)


def _wrapper_mismatches(answer: HookAnswer, roles: Mapping[str, str]) -> Iterable[Mismatch]:
    for path, role in roles.items():
        said = answer.wrappers.get(path)
        if said != role:
            yield Mismatch(f"{answer.name} {path}", "wrapper", role, said)
