"""`mm-lora settings`: what it lists is what `--set` reads; an unknown key is told the nearest."""

import json
from pathlib import Path

import pytest

from mm_lora.cli.commands.settings import run
from mm_lora.core.errors import UsageError
from mm_lora.run.settings import Settings, listing, settings_of


def test_every_example_is_read_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("pr.diff", "traffic.json"):
        Path(name).touch()
    for one in listing():
        word = one.example.removeprefix("--set ")
        assert settings_of([word]).words() == dict([word.split("=")])
        assert one.meaning
        assert one.type
        assert one.default


def test_a_default_that_is_a_value_can_be_told() -> None:
    told = [f"{one.key}={one.default}" for one in listing() if one.key in ("start", "strength")]
    assert settings_of(told) == Settings()


@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("mutants=x", "is it mutant? `mm-lora settings`"),
        ("vllm_patch=x", "is it vllm-patch?"),
        ("zzz=1", "check: `mm-lora settings` lists all keys"),
        ("port", "--set port=8000"),
    ],
)
def test_an_error_is_short(word: str, said: str) -> None:
    with pytest.raises(UsageError) as error:
        settings_of([word])
    assert said in str(error.value)
    assert len(str(error.value)) < 120


@pytest.mark.parametrize("as_json", [True, False])
def test_all_are_printed(as_json: bool, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(as_json) == 0
    out = capsys.readouterr().out
    if as_json:
        document = json.loads(out)
        assert document["schema"] == 1
        assert [one["key"] for one in document["settings"]] == [one.key for one in listing()]
        assert set(document["settings"][0]) == {"key", "type", "default", "example", "meaning"}
    for one in listing():
        assert one.example in out
