"""The public Python API: all its names, and that `verify` is the command without its print."""

import ast
import inspect
import json
import os
import signal
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
import stored

import mm_lora
from mm_lora import UsageError, tokens, verify
from mm_lora.cli.commands import tokens as tokens_command
from mm_lora.core.errors import ExitCode, TroubleError
from mm_lora.core.journal import read_report
from mm_lora.run import runner
from mm_lora.run.options import RunOptions, of_command
from mm_lora.run.signals import ENDING

CASES = """
import os, signal
import pytest

@pytest.mark.check("dice/{model}/one/good", title="two is two")
def test_good(model, check):
    check.equal(2, 2)

@pytest.mark.check("dice/{model}/one/bad", title="two is three")
def test_bad(model, check):
    check.equal(3, 2)

@pytest.mark.check("dice/{model}/one/long", title="takes long")
def test_long(model, check):
    signal.raise_signal(signal.SIGINT)
"""


def promised() -> dict[str, str]:
    """Name → module, as type checkers read them."""
    tree = ast.parse(Path(mm_lora.__file__).read_text(encoding="utf-8"))
    blocks = [node.body for node in tree.body if isinstance(node, ast.If)]
    imports = [node for node in blocks[0] if isinstance(node, ast.ImportFrom)]
    return {name.name: str(node.module) for node in imports for name in node.names}


def test_these_names_are_all() -> None:
    results = {"Inspection", "Report", "Tokens"}
    errors = {"MmLoraError", "TroubleError", "UsageError"}
    assert set(mm_lora.__all__) == {"verify", "inspect", "tokens", "__version__"} | results | errors
    assert promised() == mm_lora._PLACES
    assert promised().keys() | {"__version__"} == set(mm_lora.__all__)
    for name, module in promised().items():
        assert getattr(mm_lora, name) is getattr(sys.modules[module], name)
        assert getattr(mm_lora, name).__doc__
    with pytest.raises(AttributeError, match="nothing"):
        _ = mm_lora.nothing  # type: ignore[attr-defined]


def test_tokens_is_the_command(capsys: pytest.CaptureFixture[str]) -> None:
    found = tokens("qwen3-vl", images=["400x300"], videos=["5x112x112"])
    assert capsys.readouterr() == ("", "")
    assert found.videos[0].prompt_tokens == 56
    tokens_command.run("qwen3-vl", ["400x300"], True, ["5x112x112"])
    text = capsys.readouterr().out
    assert json.loads(text) == found.as_json()
    stored.require("tokens", text)


@pytest.fixture
def cases(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Cases that need no server take the place of the suite's. A command need not give signals
    back: its process ends."""
    folder = tmp_path / "cases"
    folder.mkdir()
    (folder / "pytest.ini").write_text("[pytest]\naddopts = -p mm_lora.run.pytest_plugin\n")
    (folder / "test_api_of_a_test.py").write_text(CASES)
    monkeypatch.setattr(runner, "cases_dir", lambda: folder)
    handlers = [signal.getsignal(one) for one in ENDING]
    yield
    for one, handler in zip(ENDING, handlers, strict=True):
        signal.signal(one, handler)


@pytest.mark.usefixtures("cases")
def test_verify_is_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    handlers = [signal.getsignal(one) for one in ENDING]
    path, environment = sys.path.copy(), dict(os.environ)
    report = verify(skip="*/long", reports=tmp_path / "api")
    assert capsys.readouterr() == ("", "")
    assert [signal.getsignal(one) for one in ENDING] == handlers
    assert (sys.path, dict(os.environ)) == (path, environment)
    assert (report.outcome, report.exit_code) == ("fail", 1)
    assert report.counts == {"pass": 1, "fail": 1}
    assert read_report(tmp_path / "api" / "latest") == report
    assert (tmp_path / "api" / "latest" / "report.html").is_file()

    options = of_command({"skip": ["*/long"], "reports": tmp_path / "command"})
    assert runner.run_checks(options) == report.exit_code
    told = read_report(tmp_path / "command" / "latest")
    assert [(c.id, c.outcome, c.reason) for c in told.checks] == [
        (c.id, c.outcome, c.reason) for c in report.checks
    ]


def test_verify_has_every_option_of_a_run() -> None:
    asked = {name: one.default for name, one in inspect.signature(verify).parameters.items()}
    assert asked.keys() - {"show"} == {one.name for one in fields(RunOptions)} - {"dry_run"}
    assert asked.pop("reports") == str(RunOptions().reports)
    assert not any(asked.values())


@pytest.mark.usefixtures("cases")
def test_another_thread_may_verify(tmp_path: Path) -> None:
    with ThreadPoolExecutor(1) as pool:
        report = pool.submit(verify, only="*/good", reports=tmp_path / "reports").result()
    assert set(report.counts) == {"pass"}


@pytest.fixture
def heard() -> Iterator[None]:
    """SIGINT as in a terminal: what a shell starts in the background is born deaf to it."""
    theirs = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, theirs)


@pytest.mark.usefixtures("cases", "heard")
def test_ctrl_c_writes_the_report_and_is_not_swallowed(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        verify(only=["*/long"], reports=tmp_path / "reports")
    report = read_report(tmp_path / "reports" / "latest")
    assert (report.outcome, report.exit_code) == ("error", ExitCode.SIGINT)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: verify(only="nothing/*"), "nothing/"),
        (lambda: verify(profile="no-such"), "no-such"),
        (lambda: verify(settings={"sead": "1"}), "sead"),
        (lambda: verify(adapter={"mine": "/no/such"}), "/no/such"),
        (lambda: tokens("no-such"), "no-such"),
        (lambda: mm_lora.inspect("/no/such", model="scout"), "/no/such"),
    ],
)
@pytest.mark.usefixtures("cases")
def test_wrong_usage_is_raised(
    call: Callable[[], Any],
    said: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError, match=said):
        call()
    assert not (tmp_path / "reports").exists()
    assert capsys.readouterr() == ("", "")


@pytest.mark.usefixtures("cases")
def test_trouble_before_a_report_is_raised(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(TroubleError, match="cannot be written"):
        verify(reports=tmp_path / "file")
