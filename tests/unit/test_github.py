"""GitHub Actions: annotations with its escapes, the job's page, and the action itself."""

import re
import shlex
from dataclasses import replace
from pathlib import Path
from typing import Any

import typer.main
import yaml
from big_report import big_report

from mm_lora.cli.app import app
from mm_lora.report import github, markdown
from mm_lora.report.view import View

ROOT = Path(__file__).resolve().parents[2]
ACTION: dict[str, Any] = yaml.safe_load((ROOT / "action.yml").read_text(encoding="utf-8"))


def told(view: View, **environment: str) -> list[str]:
    lines: list[str] = []
    github.tell(view, environment, lines.append)
    return lines


def test_nothing_is_told_elsewhere(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    assert told(View(report=big_report(10, failing=1)), GITHUB_STEP_SUMMARY=str(page)) == []
    assert not page.exists()


def test_the_page_is_appended_to_and_each_failure_annotated(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("before\n", encoding="utf-8")
    view = View(report=big_report(40, failing=3))
    lines = told(view, GITHUB_ACTIONS="true", GITHUB_STEP_SUMMARY=str(page))
    assert page.read_text(encoding="utf-8") == "before\n" + markdown.render(view)
    errors = [line for line in lines if line.startswith("::error title=fail%3A ")]
    assert len(errors) == 3
    assert "%0Arepeat: mm-lora verify --profile cpu --only " in errors[0]
    # 4 checks met it
    notices = [line for line in lines if line.startswith("::notice title=known defect%3A d::4 ")]
    assert len(lines) == len(errors) + len(notices) == 4


def test_strict_makes_a_known_defect_an_error() -> None:
    report = big_report(40)
    strict = replace(report, argv=(*report.argv, "--strict"), exit_code=1, outcome="fail")
    (line,) = told(View(report=strict), GITHUB_ACTIONS="true")
    assert line.startswith("::error title=known defect%3A d::")


def test_a_run_that_ended_badly_without_a_failure_says_why() -> None:
    report = replace(big_report(9), checks=(), defects=(), exit_code=3, outcome="error")
    report = replace(report, note="no server\nat all")
    assert told(View(report=report), GITHUB_ACTIONS="true") == [
        "::error title=mm-lora%3A error::no server%0Aat all"
    ]


def test_what_github_would_read_as_its_own_is_escaped() -> None:
    line = github.command("error", "a,b:c%\n", "50 %: x, y\r\n::error::")
    assert line == "::error title=a%2Cb%3Ac%25%0A::50 %25: x, y%0D%0A::error::"


def test_a_page_that_cannot_be_written_is_a_warning(tmp_path: Path) -> None:
    lines = told(
        View(report=big_report(1)),
        GITHUB_ACTIONS="true",
        GITHUB_STEP_SUMMARY=str(tmp_path / "no" / "page"),
    )
    assert lines[-1].startswith("::warning title=mm-lora::the job's page cannot be written")


def steps() -> list[dict[str, Any]]:
    assert ACTION["runs"]["using"] == "composite"
    found: list[dict[str, Any]] = ACTION["runs"]["steps"]
    return found


def test_every_input_of_the_action_is_used_and_none_else() -> None:
    used = set(re.findall(r"inputs\.([\w-]+)", str(steps())))
    assert used == set(ACTION["inputs"])
    for name, one in ACTION["inputs"].items():
        assert one["description"], name
        assert "default" in one, name


def test_no_input_reaches_a_shell_as_text_of_its_script() -> None:
    for step in steps():
        assert "${{" not in step.get("run", "")
        assert ("run" in step) == ("shell" in step)
        assert ("run" in step) != ("uses" in step)


def test_the_commands_of_the_action_parse() -> None:
    scripts = "\n".join(step.get("run", "") for step in steps())
    assert re.search(r"^make .* setup ", scripts, re.MULTILINE)
    assert re.search(r"^setup:", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
    for path in re.findall(r"\$GITHUB_ACTION_PATH/([\w./-]+)", scripts):
        assert path.startswith(".venv/") or (ROOT / path).exists(), path
    variables = set(re.findall(r"\$\{?([A-Z][A-Z_]+)", scripts))
    given = {name for step in steps() for name in step.get("env", {})}
    assert variables - given <= {"GITHUB_ACTION_PATH", "GITHUB_OUTPUT", "RUNNER_TEMP"}
    words = " ".join(re.findall(r"words\+?=\(([^)]*)\)", scripts))
    verify: Any = typer.main.get_command(app).commands["verify"]  # type: ignore[attr-defined]
    parsed = verify.make_context("verify", shlex.split(words))
    assert {name for name, value in parsed.params.items() if value} == {
        "model",
        "server_python",
        "reports",
    } | {name for name, value in verify.make_context("verify", []).params.items() if value}
