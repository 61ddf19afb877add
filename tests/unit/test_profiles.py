"""Profiles: every shipped one is whole, and the rehearsal is the GPU run in all but the place."""

from dataclasses import replace
from typing import Any

import pytest

from mm_lora.core import typed
from mm_lora.core.errors import UsageError
from mm_lora.core.record import Run
from mm_lora.core.report import of_run
from mm_lora.families.models import resolve
from mm_lora.report import markdown
from mm_lora.report.view import View
from mm_lora.run import limits
from mm_lora.run.options import RunOptions, require_place
from mm_lora.run.profiles import Profile, load, names

REAL = ("gpu", "gpu-maverick", "gpu-multinode")
PLACE = ("tensor-parallel-size", "pipeline-parallel-size", "distributed-executor-backend")


@pytest.mark.parametrize("name", names())
def test_a_shipped_profile_is_whole(name: str) -> None:
    profile = load(name)
    assert profile.name == name
    assert resolve(profile.model).name in ("scout", "maverick")
    assert set(profile.truths) <= {"arithmetic", "rows", "reference", "relations"}
    assert ("reference" in profile.truths) == (profile.dtype == "float32")
    assert "experts" not in profile.flags.get("lora-target-modules", [])
    assert all(isinstance(value, str) for value in profile.env.values())


def test_all_places_of_the_design_are_there() -> None:
    assert names() == ["cpu", "gpu", "gpu-maverick", "gpu-multinode", "rehearsal", "remote"]


@pytest.mark.parametrize("name", REAL)
def test_16_bits_have_the_rules_of_the_design(name: str) -> None:
    profile = load(name)
    assert profile.tolerance <= 5e-2
    assert profile.min_effect == pytest.approx(5 * profile.tolerance)
    assert profile.needs.gpus >= 4
    assert profile.needs.download_gb >= 112
    assert profile.flags["tensor-parallel-size"] * profile.flags.get(
        "pipeline-parallel-size", 1
    ) >= (profile.needs.gpus)


@pytest.mark.parametrize("name", REAL)
def test_the_rehearsal_judges_as_the_gpu_run_does(name: str) -> None:
    gpu, rehearsal = load(name), load("rehearsal")
    for key in ("dtype", "tolerance", "min_effect", "same", "truths", "select"):
        assert getattr(gpu, key) == getattr(rehearsal, key), key
    flags = {key: value for key, value in gpu.flags.items() if key not in PLACE}
    assert {**flags, "enforce-eager": True} == rehearsal.flags


def whole(**changes: Any) -> dict[str, Any]:
    plain = {"name": "p", "model": "scout", "dtype": "float32", "tolerance": 1.0, "min_effect": 5.0}
    return {**plain, **changes}


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"needs": {"gpus": "four"}}, "gpus"),
        ({"needs": {"gpu": 4}}, "unknown key 'gpu'"),
        ({"needs": {"gpus": -1}}, "gpus"),
        ({"select": "dice/*"}, "select"),
        ({"truths": "rows"}, "truths"),
        ({"truths": ["truth"]}, "unknown truths"),
        ({"revision": 3}, "revision"),
        ({"flags": {"--dtype": "x"}}, "without dashes"),
        ({"flags": 3}, "flags"),
        ({"env": {"A": 1}}, r"env\[...\]: Expected `str`"),
        ({"dtype": "fp8"}, "dtype"),
        ({"ready_timeout_s": 0}, "ready_timeout_s"),
        ({"min_effect": "much"}, "min_effect"),
        ({"tolerance": True}, "tolerance"),
        ({"needs": 4}, "needs"),
        ({"name": 3}, "name"),
        ({"tolerances": 1}, "unknown key 'tolerances'"),
    ],
)
def test_a_wrong_key_or_value_is_named(changes: dict[str, Any], why: str) -> None:
    assert typed.convert(whole(), Profile, "mine.toml").name == "p"
    with pytest.raises(UsageError, match=rf"mine\.toml: .*{why}"):
        typed.convert(whole(**changes), Profile, "mine.toml")


def test_a_remote_server_has_the_truths_of_its_answers_only() -> None:
    url, remote = RunOptions(base_url="http://h:1", profile="remote"), load("remote")
    require_place(url, remote.truths)
    with pytest.raises(UsageError, match="judges a server by its answers"):
        require_place(replace(url, profile="cpu"), load("cpu").truths)
    with pytest.raises(UsageError, match="profile remote starts no server"):
        require_place(replace(url, base_url=""), remote.truths)
    for wrong in ("host:8000", "ftp://h", "http://user:word@h"):
        with pytest.raises(UsageError, match="--base-url"):
            require_place(replace(url, base_url=wrong), remote.truths)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("cpu", ()),
        ("gpu", ("no fp32 reference", "0.05 in logprob", "inside the LoRA kernel")),
        ("remote", ("no fp32 reference", "rows inside the layers")),
    ],
)
def test_a_report_says_what_its_profile_cannot_see(name: str, words: tuple[str, ...]) -> None:
    said = " ".join(limits.of(load(name)))
    assert bool(said) == bool(words)
    assert all(word in said for word in words)
    run = Run(profile=name, argv=[], seed=0, started="now", limits=limits.of(load(name)))
    assert ("Cannot be seen" in markdown.render(View(report=of_run(run)))) == bool(words)
