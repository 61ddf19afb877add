"""What the cache holds, and what of it goes."""

import json
import os
from pathlib import Path

import pytest

from mm_lora.cli.commands import cache as command
from mm_lora.core.cache import Cache, Values, lock_of
from mm_lora.core.cache_room import IN_USE_S, Held, chosen, held, remove
from mm_lora.core.errors import UsageError

NOW = 10_000_000.0
DAY = 24 * 3600.0


def thing(name: str, *, size: int = 10, days: float = 1.0, kind: str = "adapters") -> Held:
    return Held(kind=kind, path=Path(name), size=size, used_s=NOW - days * DAY)


def names(
    *everything: Held,
    at_most: int | None = None,
    unused_for_s: float | None = None,
    kinds: tuple[str, ...] = (),
) -> list[str]:
    going = chosen(everything, at_most=at_most, unused_for_s=unused_for_s, kinds=kinds, now=NOW)
    return [str(one.path) for one in going]


def test_the_longest_unused_go_until_it_fits() -> None:
    everything = (thing("a", days=5), thing("b", days=4), thing("c", days=3))
    assert names(*everything, at_most=30) == []
    assert names(*everything, at_most=29) == ["a"]
    assert names(*everything, at_most=10) == ["a", "b"]
    assert names(*everything, at_most=0) == ["a", "b", "c"]


def test_what_is_old_goes_and_then_what_does_not_fit() -> None:
    everything = (thing("a", days=5), thing("b", days=4), thing("c", days=3))
    assert names(*everything, unused_for_s=3.5 * DAY) == ["a", "b"]
    assert names(*everything, unused_for_s=4.5 * DAY, at_most=10) == ["a", "b"]


def test_what_may_be_in_use_stays() -> None:
    used = thing("used", days=IN_USE_S / DAY - 0.001)
    assert names(used) == names(used, at_most=0) == names(used, unused_for_s=0.0) == []


def test_environments_go_only_by_name() -> None:
    everything = (thing("e", kind="environments"), thing("a"))
    assert names(*everything) == ["a"]
    assert names(*everything, kinds=("environments",)) == ["e"]


def test_a_reading_is_a_use(tmp_path: Path) -> None:
    cache = Cache("adapters", print, root=tmp_path)
    folder, _ = cache.get("one", {"n": 1}, lambda into: _filled(into))
    values = Values("reference", int, root=tmp_path)
    values.write("key", 3)
    for file in tmp_path.rglob("*"):
        os.utime(file, (1.0, 1.0))
    assert {one.used_s for one in held(tmp_path)} == {1.0}
    assert {one.kind for one in held(tmp_path)} == {"adapters", "reference"}
    cache.get("one", {"n": 1}, lambda into: _filled(into))
    assert values.read("key") == 3
    assert all(one.used_s > 1.0 for one in held(tmp_path))
    assert next(one for one in held(tmp_path) if one.path == folder).size > 100


def _filled(folder: Path) -> dict[str, int]:
    (folder / "weights").write_bytes(b"0" * 100)
    return {}


def test_what_is_being_built_stays(tmp_path: Path) -> None:
    folder = tmp_path / "adapters" / "one-1"
    folder.mkdir(parents=True)
    (folder / "weights").write_bytes(b"0" * 100)
    (one,) = held(tmp_path)
    with lock_of(folder):
        assert not remove(one)
    assert folder.is_dir()
    assert remove(one)
    assert held(tmp_path) == []
    assert not [path for path in folder.parent.iterdir() if "pruned" in path.name]


def test_there_may_be_no_cache(tmp_path: Path) -> None:
    assert held(tmp_path / "none") == []


@pytest.mark.parametrize(
    ("text", "size"), [("0", 0), ("500MB", 500_000_000), ("2 gb", 2 * 10**9), ("1.5k", 1500)]
)
def test_sizes(text: str, size: int) -> None:
    assert command.size_of(text) == size


@pytest.mark.parametrize("text", ["", "much", "-1GB", "1XB", "1e9"])
def test_no_sizes(text: str) -> None:
    with pytest.raises(UsageError, match="is no size"):
        command.size_of(text)


def test_the_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MM_LORA_CACHE", str(tmp_path))
    Values("reference", int).write("key", 3)
    assert command.show(as_json=True) == 0
    assert json.loads(capsys.readouterr().out)["kinds"]["reference"]["things"] == 1
    with pytest.raises(UsageError, match="has no adapters"):
        command.prune(None, None, ["adapters"], False, False)
    command.prune("0", None, (), False, True)  # used just now
    assert json.loads(capsys.readouterr().out)["bytes"] == 0
    for file in (tmp_path / "reference").iterdir():
        os.utime(file, (1.0, 1.0))
    command.prune("0", None, (), True, False)
    assert "would lose" in capsys.readouterr().out
    assert len(held(tmp_path)) == 1
    command.prune("0", None, (), False, False)
    assert " lost 0.0 kB\n  reference           1" in capsys.readouterr().out
    assert held(tmp_path) == []
