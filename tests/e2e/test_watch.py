"""`mm-lora watch` against a real server: two good adapters pass; what is seeded fails by name."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

TOWER, ALL = "tower-attention", "all"
MM_LORA = (sys.executable, "-m", "mm_lora")
SEEDED = {
    # The tower's adapter does nothing, and each of the two gets the other's weights in company.
    ("break=tower-attention:zero-b", "mutant=mutant-adapters-swapped"): {
        (TOWER, "differs-text"),
        (TOWER, "differs-picture"),
        (TOWER, "neighbours"),
        (ALL, "neighbours"),
    },
    # A picture is known to the encoder's cache whoever's adapter has encoded it.
    ("mutant=mutant-encoder-key",): {(TOWER, "repeats-picture"), (ALL, "repeats-picture")},
}


@contextmanager
def served(folder: Path, settings: Sequence[str] = ()) -> Iterator[str]:
    """The URL of a `mm-lora serve`d miniature with two adapters."""
    words = [word for setting in settings for word in ("--set", setting)]
    serving = subprocess.Popen(
        [*MM_LORA, "serve", "scout", "--adapter", TOWER, "--adapter", ALL, *words],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "TMPDIR": str(folder)},
        start_new_session=True,
    )
    assert serving.stdout is not None
    said, url = [], ""
    try:
        for line in serving.stdout:
            said.append(line)
            if "/v1 serves:" in line:
                url = line.partition("/v1")[0]
            if line.startswith("Ctrl-C"):
                break
        else:
            pytest.fail("it ended early:\n" + "".join(said))
        yield url
    finally:
        serving.send_signal(signal.SIGTERM)
        serving.communicate(timeout=60)


def watch(url: str, *words: str) -> tuple[int, dict[str, Any]]:
    """Exit code and document of one pass."""
    ended = subprocess.run(
        [*MM_LORA, "watch", "--base-url", url, "--json", *words],
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.stdout, ended.stderr
    return ended.returncode, json.loads(ended.stdout)


def outcomes(document: dict[str, Any]) -> dict[tuple[str, str], str]:
    return {
        (one["adapter"], check["check"]): check["outcome"]
        for one in document["adapters"]
        for check in one["checks"]
    }


def test_two_good_adapters_pass(tmp_path: Path) -> None:
    metrics = tmp_path / "mm_lora.prom"
    with served(tmp_path) as url:
        code, document = watch(url, "--metrics", str(metrics))
        assert code == 0, document
        found = outcomes(document)
        assert found.pop((TOWER, "differs-text")) == "skip"
        assert set(found.values()) == {"pass"}
        assert len(found) == 9
        assert document["requests"] == 30
        assert f'mm_lora_watch_failed{{adapter="{ALL}",check="neighbours"}} 0\n' in (
            metrics.read_text(encoding="utf-8")
        )
        code, document = watch(url, "--only", "tower-*")
        assert (code, [one["adapter"] for one in document["adapters"]]) == (0, [TOWER])


@pytest.mark.parametrize("settings", SEEDED, ids=lambda settings: settings[-1])
def test_what_is_seeded_fails_by_name(settings: tuple[str, ...], tmp_path: Path) -> None:
    with served(tmp_path, settings) as url:
        code, document = watch(url)
    found = outcomes(document)
    assert {key for key, outcome in found.items() if outcome == "fail"} == SEEDED[settings], (
        document
    )
    assert code == 1
