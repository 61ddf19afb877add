"""What a model class can do is read here: no process, and its trouble comes out as it is."""

import subprocess

import pytest

from mm_lora.inside import model_info

((_, make),) = model_info.PATCH.wraps.items()


def in_a_process(fn: object) -> object:
    raise AssertionError("a process was started")


def test_the_class_is_asked_here() -> None:
    assert make(in_a_process)(lambda: {"is_multimodal_model": True}) == {
        "is_multimodal_model": True
    }
    assert model_info.PATCH.platform == "cpu"


def test_trouble_with_the_class_is_not_hidden() -> None:
    def broken() -> None:
        raise ImportError("no such class")

    with pytest.raises(ImportError, match="no such class"):
        make(subprocess.run)(broken)
