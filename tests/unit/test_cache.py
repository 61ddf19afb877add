"""The cache: built once, never half built, damage is noticed."""

import shutil
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from mm_lora.core.cache import MANIFEST, Cache, content_key, copy_built, source_key
from mm_lora.core.errors import BuildError


class Work:
    """A build that counts how often it ran."""

    def __init__(self) -> None:
        self.runs = 0

    def __call__(self, folder: Path) -> Mapping[str, Any]:
        self.runs += 1
        (folder / "weights").write_bytes(b"12345")
        (folder / "part").mkdir()
        (folder / "part" / "config").write_text("{}")
        return {"bytes": 5}


@pytest.fixture
def said() -> list[str]:
    """What the cache told the user."""
    return []


@pytest.fixture
def cache(tmp_path: Path, said: list[str]) -> Cache:
    """A cache in a folder of its own."""
    return Cache("things", said.append, tmp_path)


def test_built_once(cache: Cache, said: list[str]) -> None:
    work = Work()
    first, again = (cache.get("thing", {"seed": 0}, work) for _ in range(2))
    assert first == again
    assert first[1] == {"bytes": 5}
    assert (first[0] / "weights").read_bytes() == b"12345"
    assert work.runs == 1
    assert cache.get("thing", {"seed": 1}, work)[0] != first[0]
    assert said == []


@pytest.mark.parametrize("damage", ["missing", "truncated", "no manifest", "bad manifest", "part"])
def test_damage_is_said_and_mended(cache: Cache, said: list[str], damage: str) -> None:
    work = Work()
    folder, _ = cache.get("thing", 0, work)
    match damage:
        case "missing":
            (folder / "weights").unlink()
        case "truncated":
            (folder / "weights").write_bytes(b"123")
        case "no manifest":
            (folder / MANIFEST).unlink()
        case "bad manifest":
            (folder / MANIFEST).write_text("[]")
        case "part":
            shutil.rmtree(folder / "part")
    assert cache.find("thing", 0) is None
    assert cache.get("thing", 0, work)[0] == folder
    assert work.runs == 2
    assert "damaged" in said[0]
    assert (folder / "weights").read_bytes() == b"12345"


def test_a_failed_build_leaves_nothing(cache: Cache) -> None:
    def fail(folder: Path) -> Mapping[str, Any]:
        (folder / "half").touch()
        raise BuildError("no torch")

    with pytest.raises(BuildError, match="no torch"):
        cache.get("thing", 0, fail)
    folder = cache.path("thing", 0)
    assert not folder.exists()
    assert [file for file in folder.parent.iterdir() if file.suffix != ".lock"] == []


def test_a_killed_run_s_remains_are_cleared(cache: Cache) -> None:
    folder = cache.path("thing", 0)
    partial = folder.parent / f".{folder.name}.partial"
    partial.mkdir(parents=True)
    (partial / "rubbish").touch()
    built, _ = cache.get("thing", 0, Work())
    assert not (built / "rubbish").exists()


def test_two_at_once_build_once(tmp_path: Path) -> None:
    said: list[str] = []
    begun, go_on = threading.Event(), threading.Event()
    work = Work()

    def slow(folder: Path) -> Mapping[str, Any]:
        begun.set()
        assert go_on.wait(10)
        return work(folder)

    found: list[Path] = []

    def hear(line: str) -> None:
        said.append(line)
        go_on.set()

    def run(wait: bool) -> None:
        if wait:
            assert begun.wait(10)
        # A cache object of its own each, as two processes have.
        mine = Cache("things", hear, tmp_path)
        found.append(mine.get("thing", 0, slow)[0])

    threads = [threading.Thread(target=run, args=(wait,)) for wait in (False, True)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert work.runs == 1
    assert found[0] == found[1]
    assert "waiting for another run" in said[0]


def test_unwritable_cache(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(BuildError, match="cannot be written") as raised:
        Cache("things", print, tmp_path / "file").get("thing", 0, Work())
    assert "MM_LORA_CACHE" in raised.value.check


def test_copies_lack_the_manifest(cache: Cache, tmp_path: Path) -> None:
    folder, _ = cache.get("thing", 0, Work())
    copy_built(folder, tmp_path / "out")
    assert sorted(f.name for f in (tmp_path / "out").rglob("*")) == ["config", "part", "weights"]


def test_labels_become_file_names(cache: Cache) -> None:
    assert cache.path("my model/é ~", 0).name.startswith("my-model-é-")


def test_keys(tmp_path: Path) -> None:
    assert content_key({"a": 1, "b": [2]}) == content_key({"b": [2], "a": 1})
    assert content_key({"a": 1}) != content_key({"a": "1"})
    (tmp_path / "a").write_text("x = 1")
    before = source_key(tmp_path / "a")
    (tmp_path / "a").write_text("x = 2")
    assert source_key(tmp_path / "a") != before
