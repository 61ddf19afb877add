"""Every hook point of every patch is in the source of each vLLM at hand that the patch is for."""

from collections.abc import Iterator

import pytest
from vllm_names import VllmNames, at_hand

from mm_lora.inside.catalogue import PATCHES
from mm_lora.inside.probe import POINTS
from mm_lora.inside.registry import Patch

NONE = "no vLLM at hand: neither in this environment nor in one that `mm-lora matrix` has made"
AT_HAND = [pytest.param(names, id=f"vllm-{names.version}") for names in at_hand()] or [
    pytest.param(None, id="none", marks=pytest.mark.skip(reason=NONE))
]


def fitting(version: str) -> Iterator[Patch]:
    """The patches for that vLLM, on whichever platform."""
    for patch in PATCHES:
        if not patch.misfit(version, "cpu" if patch.platform == "any" else patch.platform):
            yield patch


@pytest.mark.parametrize("vllm", AT_HAND)
def test_every_hook_point_is_there(vllm: VllmNames) -> None:
    lost = {patch.id: patch.lacks(vllm.has) for patch in fitting(vllm.version)}
    assert {name: points for name, points in lost.items() if points} == {}
    assert [point for point in POINTS if not vllm.has(point)] == []


@pytest.mark.parametrize("vllm", AT_HAND)
def test_a_misspelt_hook_point_is_not(vllm: VllmNames) -> None:
    """Each part of each one misspelt in its turn: the module, the class, the function."""
    found = []
    for patch in fitting(vllm.version):
        for point in patch.points:
            module, _, path = point.partition(":")
            outer, _, name = path.rpartition(".")
            wrong = [f"{module}x:{path}", f"{module}:{outer}.x{name}".replace(":.", ":")]
            wrong += [f"{module}:x{path}"] if outer else []
            found += [one for one in wrong if vllm.has(one)]
    assert found == []


SOURCES = {
    "__init__.py": "",
    "deep/__init__.py": "from .core import Base as Shown\n",
    "deep/core.py": """
import os
from typing import Any
from dataclasses import dataclass
class Base:
    async def inherited(self): ...
    @property
    def read(self): ...
@dataclass
class Config:
    wanted: bool
try:
    def function(): ...
except ImportError:
    function = None
""",
    "user.py": """
from typing import Generic, TypeVar
from vllm.deep import Shown, core
from .deep.core import function
class User(Shown, Generic[T]):
    def own(self): ...
class Loop(Loop): ...
""",
}


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> VllmNames:
    folder = tmp_path_factory.mktemp("small") / "vllm"
    for name, text in SOURCES.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    return VllmNames(folder, "0.32.0")


@pytest.mark.parametrize(
    "point",
    [
        "deep.core:function",
        "deep.core:Base.inherited",
        "deep.core:Base.read",
        "deep.core:Config.wanted",
        "deep.core:Any",
        "deep:Shown.read",
        "user:function",
        "user:core",
        "user:core.Base.read",
        "user:User.own",
        "user:User.inherited",
    ],
)
def test_what_is_there_is_found(small: VllmNames, point: str) -> None:
    assert small.has(f"vllm.{point}")


@pytest.mark.parametrize(
    "point",
    [
        "vllm.gone:function",
        "vllm.deep.core:gone",
        "vllm.deep.core:Base.gone",
        "vllm.deep.core:function.gone",
        "vllm.deep:Base",
        "vllm.user:User.read.deeper",
        "vllm.user:User.gone",
        "vllm.user:Loop.gone",
        "torch.nn:Module",
    ],
)
def test_what_is_not_there_is_not(small: VllmNames, point: str) -> None:
    assert not small.has(point)


def test_a_patch_tells_what_it_lacks() -> None:
    def make(original: object) -> object:
        return original

    patch = Patch(
        id="p",
        kind="fix",
        reason="test",
        needs=("m:Needed",),
        wraps={"m:new": make},
        instead={"m:old": make, "n:old": make},
    )
    assert patch.modules == ("m", "n")
    assert patch.lacks({"m:Needed", "m:new"}.__contains__) == []
    assert patch.lacks({"m:Needed", "m:old", "n:old"}.__contains__) == []
    assert patch.lacks({"m:Needed", "m:old"}.__contains__) == ["n:old"]
    assert patch.lacks({"m:new"}.__contains__) == ["m:Needed"]
