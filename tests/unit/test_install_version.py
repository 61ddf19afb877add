"""What an environment for one released vLLM is made of."""

import pytest

from mm_lora.core.errors import InstallError
from mm_lora.install.version import constraints, overrides, torch_version, torchvision_version


@pytest.mark.parametrize(
    ("pins", "torch"),
    [(["==2.10.0+cpu"], "2.10.0"), (["==2.13.0"], "2.13.0"), (["", "==2.9.1+cpu"], "2.9.1")],
)
def test_the_torch_that_a_wheel_asks_for(pins: list[str], torch: str) -> None:
    assert torch_version(pins) == torch


@pytest.mark.parametrize("pins", [[], [">=2.9"], ["==2.*"]])
def test_no_single_torch_is_an_error(pins: list[str]) -> None:
    with pytest.raises(InstallError):
        torch_version(pins)


@pytest.mark.parametrize(
    ("torch", "torchvision"), [("2.10.0", "0.25.0"), ("2.13.0", "0.28.0"), ("2.9.1", "0.24.1")]
)
def test_torchvision_is_the_torchs_own(torch: str, torchvision: str) -> None:
    assert torchvision_version(torch) == torchvision


def test_overrides_leave_out_what_is_not_needed() -> None:
    general = overrides("2.10.0", cpu_build=False).splitlines()
    assert general[:2] == ["torch===2.10.0", "torchvision===0.25.0"]
    assert all("never" in line for line in general[2:])
    assert overrides("2.10.0", cpu_build=True).startswith("torch==2.10.0+cpu\n")


def test_transformers_is_no_newer_than_the_tools_own() -> None:
    assert constraints().startswith("transformers<=")
