"""In 16 bits the tolerance is measured: noise, tolerance, least effect, strength of adapters."""

from pathlib import Path
from typing import Any

import pytest

from mm_lora.checks.judging import Judge
from mm_lora.core.asking import Answer
from mm_lora.core.outcomes import NotPassed
from mm_lora.families.models import resolve
from mm_lora.run import limits, tolerances, tuning
from mm_lora.run.factors import Factors, stream_of
from mm_lora.run.options import RunOptions
from mm_lora.run.profiles import load
from mm_lora.run.settings import Settings
from mm_lora.run.tolerances import factor_needed, last_place, of_noise, unseen_scale_error
from mm_lora.truth.build import Builder

PLACE = load("rehearsal")


class FolderNames(Builder):
    """A builder whose versions are known, so that no worker is started."""

    def __init__(self, python: Path) -> None:
        super().__init__(python)
        self._versions = {"torch": "1"}


def answer(*logprobs: float, second: float = -4.0, ids: tuple[int, ...] = (1, 2)) -> Answer:
    top = [{"token": "a", "logprob": logprobs[0]}, {"token": "b", "logprob": second}]
    return Answer(
        model="m",
        text="t",
        token_ids=ids,
        logprobs=logprobs,
        prompt_tokens=1,
        completion_tokens=2,
        finish_reason="length",
        raw={"choices": [{"logprobs": {"content": [{"top_logprobs": top}]}}]},
    )


@pytest.mark.parametrize(
    ("noise", "largest", "tolerance"),
    [
        (0.0, 3.0, 2**-6),  # bit-identical: one last place of bf16 between 2 and 4
        (0.0, 1.0, 2**-7),
        (0.008, 3.0, 0.04),  # five times the noise
        (0.001, 3.0, 2**-6),  # five times the noise is less than one last place
        (0.02, 3.0, 0.05),  # never more than the profile's
        (float("inf"), 3.0, 0.05),
    ],
)
def test_the_tolerance_follows_the_noise(noise: float, largest: float, tolerance: float) -> None:
    allowed = of_noise(PLACE, noise, largest)
    assert allowed.tolerance == allowed.same == pytest.approx(tolerance)
    assert allowed.min_effect == pytest.approx(5 * tolerance)
    assert bool(allowed.note) is (5 * noise > 0.05)


def test_a_noisy_server_is_judged_at_the_cap_and_its_failures_say_so() -> None:
    allowed = of_noise(PLACE, 0.02, 3.0)
    judge = Judge(
        tolerance=allowed.tolerance,
        min_effect=allowed.min_effect,
        same=allowed.same,
        note=allowed.note,
    )
    judge.same_answer(answer(-1.0, -2.0), answer(-1.0, -2.04))
    with pytest.raises(NotPassed, match=r"two clean runs of this server differ by 0\.02"):
        judge.same_answer(answer(-1.0, -2.0), answer(-1.0, -2.06))
    with pytest.raises(NotPassed) as caught:  # nothing to do with a number
        judge.equal(1, 2)
    assert "clean runs" not in caught.value.verdict.reason


def test_in_32_bits_the_profile_says_it() -> None:
    place = load("cpu")
    assert not tolerances.is_measured(place)
    assert tolerances.is_measured(load("gpu"))
    assert tolerances.is_measured(load("remote"))
    allowed = tolerances.of_profile(place)
    assert (allowed.tolerance, allowed.min_effect, allowed.same) == (1e-3, 0.05, 1e-5)


def test_last_places() -> None:
    assert last_place(-3.0, "bfloat16") == 2**-6
    assert last_place(4.0, "bfloat16") == 2**-5
    assert last_place(3.0, "float16") == 2**-9
    assert last_place(0.0, "bfloat16") == 0.0


@pytest.mark.parametrize(
    ("effect", "has", "factor"),
    [
        (0.5, 1, 1),  # twice the least effect: as it is
        (0.4, 1, 2),  # seen, but not on a picture that shows half as much
        (0.1, 1, 8),
        (0.49, 4, 8),  # at least doubled, though it had to be stronger before
        (0.001, 1, 16),  # bounded
        (0.0, 1, 16),  # ignored: then it is ignored at its strongest
        (0.0, 16, 16),
    ],
)
def test_how_much_stronger_an_adapter_is_built(effect: float, has: float, factor: float) -> None:
    assert factor_needed(effect, 0.25, has) == factor


def test_what_a_tolerance_cannot_see() -> None:
    assert unseen_scale_error(0.25, 0.05) == pytest.approx(0.2)
    said = limits.of(PLACE, ["on 1-scout, …"])
    assert "on 1-scout, …" in said
    assert not any("less than 0.05" in line for line in said)
    assert any("less than 0.05" in line for line in limits.of(PLACE))


def test_noise_is_the_largest_difference_of_any_two_answers() -> None:
    one = answer(-1.0, -2.0)
    assert tuning.largest_noise([one, one, one]) == 0.0
    assert tuning.largest_noise([one, answer(-1.0, -2.01), one]) == pytest.approx(0.01)
    assert tuning.largest_noise([one, answer(-1.0, -2.0, second=-4.03)]) == pytest.approx(0.03)
    # Another token at a tie: what comes after answers another prompt.
    assert tuning.largest_noise([one, answer(-1.0, -2.02, ids=(1, 9))]) == pytest.approx(0.02)


def test_relatives_change_together_and_the_cache_remembers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MM_LORA_CACHE", str(tmp_path))
    builder, model = FolderNames(tmp_path), resolve("scout")
    stream = stream_of(model.family, "relative-b-doubled")
    assert stream == stream_of(model.family, "relative-zero-b") == "relative"

    def run(**settings: Any) -> Factors:
        return Factors(RunOptions(profile="rehearsal", settings=Settings(**settings)), PLACE)

    def built(run: Factors, name: str) -> float:
        return run.spec(builder, model, name).strength

    first = run()
    assert built(first, "relative") == 0.5
    first.change(model, stream, 4)
    first.keep(builder, model, stream)
    assert [built(run(), n) for n in ("relative", "relative-b-doubled")] == [2.0, 4.0]
    assert built(run(), "relative-zero-b") == 0.0
    assert built(run(), "projector") == 0.5
    assert built(run(strength=2.0), "relative") == 1.0  # another adapter: not yet measured
    assert Factors(RunOptions(), load("cpu")).factor(builder, model, stream) == 1.0
    # A seeded defect may ask for strength; nothing of it is kept.
    seeded = run(mutant=("mutant-scale-off",))
    seeded.change(model, "projector", 16)
    seeded.keep(builder, model, "projector")
    assert built(run(), "projector") == 0.5
    # A noisier server needs more: the greater factor stays.
    second = run()
    second.change(model, stream, 8)
    second.keep(builder, model, stream)
    assert built(run(), "relative") == 4.0
