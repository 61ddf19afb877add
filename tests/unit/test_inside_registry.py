"""Which patches a server gets, and that every one in the catalogue is told why."""

from pathlib import Path
from types import ModuleType

import pytest

from mm_lora.inside import turns
from mm_lora.inside.catalogue import PATCHES
from mm_lora.inside.registry import Patch, UnknownPatch, select


def patch(identity: str, kind: str = "compat", versions: str = "", platform: str = "any") -> Patch:
    return Patch(
        id=identity,
        kind=kind,
        wraps={"vllm.x:y": lambda original: original},
        reason="because",
        versions=versions,
        platform=platform,
    )


CPU = patch("cpu", platform="cpu")
OLD = patch("old", versions=">=0.17,<0.30")
MUTANT = patch("mutant", kind="mutant")
FIX = patch("fix", kind="fix", platform="cpu")
ALL = (CPU, OLD, MUTANT, FIX)


@pytest.mark.parametrize(
    ("wanted", "version", "platform", "expected"),
    [
        (["auto"], "0.32.0", "cpu", ["cpu"]),
        (["auto"], "0.28.0", "cpu", ["cpu", "old"]),
        (["auto"], "0.28.0", "cuda", ["old"]),
        (["auto"], "0.28.1.dev3+g12ab.cpu", "cpu", ["cpu", "old"]),
        (["auto"], "dev", "cpu", ["cpu", "old"]),
        (["auto", "mutant"], "0.32.0", "cpu", ["cpu", "mutant"]),
        (["mutant", "auto"], "0.32.0", "cpu", ["cpu", "mutant"]),
        (["auto", "fixes"], "0.32.0", "cpu", ["cpu", "fix"]),
        (["fixes"], "0.32.0", "cuda", []),
        ([], "0.28.0", "cpu", []),
    ],
)
def test_selection(wanted: list[str], version: str, platform: str, expected: list[str]) -> None:
    assert [one.id for one in select(wanted, ALL, version, platform)] == expected


def test_what_follows_an_at_is_no_part_of_an_id() -> None:
    wanted = ["mutant@a/*", "fix", "mutant@b/c", "fix@a/b"]
    assert [one.id for one in select(wanted, ALL, "0.32.0", "cpu")] == ["mutant", "fix"]
    assert turns.scopes(wanted) == {"mutant": ["a/*", "b/c"]}


def test_a_patch_that_takes_turns_acts_in_its_own_only(tmp_path: Path) -> None:
    module = ModuleType("vllm.x")
    module.y = lambda: "theirs"  # type: ignore[attr-defined]
    judging = tmp_path / turns.FILE
    point = {"vllm.x:y": lambda original: lambda: f"not {original()}"}
    one = Patch(id="x", kind="fix", reason="because", wraps=point)
    one.in_turn(turns.Turn(judging, ("a/*", "b/c"))).apply(module)
    seen = [module.y()]
    for check in ("a/b/c", "", "b/c", "b/cd"):
        judging.write_text(check)
        seen.append(module.y())
    assert seen == ["theirs", "not theirs", "theirs", "not theirs", "theirs"]


def test_a_patch_that_does_more_cannot_take_turns() -> None:
    more = Patch(id="x", kind="fix", reason="because", needs=("m:y",), adds=lambda module: None)
    with pytest.raises(ValueError, match="more than replace"):
        more.in_turn(lambda: True)


def test_unknown_and_unfit_patches_are_named() -> None:
    with pytest.raises(UnknownPatch, match="no patch 'oldd'; known: cpu, fix, mutant, old"):
        select(["oldd"], ALL, "0.32.0", "cpu")
    with pytest.raises(UnknownPatch, match=r"patch old is for vLLM >=0.17,<0.30, this is 0.32.0"):
        select(["old"], ALL, "0.32.0", "cpu")
    with pytest.raises(UnknownPatch, match="patch cpu is for cpu, this vLLM runs on cuda"):
        select(["cpu"], ALL, "0.32.0", "cuda")


@pytest.mark.parametrize("changes", [{"kind": "hack"}, {"platform": "tpu"}])
def test_a_wrong_patch_cannot_be_made(changes: dict[str, str]) -> None:
    with pytest.raises(ValueError, match="patch x"):
        patch("x", **changes)


@pytest.mark.parametrize("points", [(), ("vllm.x",), ("vllm.x:",), ("vllm/x.py:y",)])
def test_a_patch_names_its_hook_points(points: tuple[str, ...]) -> None:
    with pytest.raises(ValueError, match="hook points"):
        Patch(id="x", kind="fix", reason="because", needs=points)


def test_catalogue_has_unique_ids_and_reasons() -> None:
    assert len({one.id for one in PATCHES}) == len(PATCHES)
    for one in PATCHES:
        assert one.reason
        assert one.points
        one.misfit("0.32.0", "cpu")  # its versions can be parsed


def test_a_cpu_gets_its_compat_patches() -> None:
    chosen = {one.id for one in select(["auto"], PATCHES, "0.32.0", "cpu")}
    assert {"llama4-unfold-contiguous", "cpu-moe-experts"} <= chosen
    assert not select(["auto"], PATCHES, "0.32.0", "cuda")
