"""What doctor makes of what it finds."""

from pathlib import Path

import pytest
from interpreters import interpreter

from mm_lora.cli.commands import doctor
from mm_lora.cli.commands.doctor import State
from mm_lora.core.interpreters import InterpreterFacts
from mm_lora.serving import gpus


def facts(**changed: object) -> InterpreterFacts:
    loads = {"torchvision_loads": False, "torchvision_loads_with_schemas": True}
    return interpreter(**loads | changed)


def states(own: bool = True, **changed: object) -> dict[str, State]:
    return {each.subject: each.state for each in doctor.judge_interpreter(facts(**changed), own)}


def test_a_good_interpreter_lacks_nothing() -> None:
    assert set(states().values()) == {State.OK}


@pytest.mark.parametrize(
    ("subject", "changed"),
    [
        ("vLLM", {"vllm": None, "importable": False}),
        ("vLLM", {"vllm": "0.15.0"}),
        ("torch", {"torch": None}),
        ("transformers", {"transformers": None}),
        ("peft", {"peft": None}),
        ("torchvision", {"torchvision_loads_with_schemas": False}),
        ("torchvision", {"torchvision": None}),
    ],
)
def test_what_is_missing_is_named_with_what_to_do(subject: str, changed: dict[str, object]) -> None:
    found = {each.subject: each for each in doctor.judge_interpreter(facts(**changed), True)}
    assert found[subject].state is State.MISSING
    assert found[subject].todo


def test_a_server_of_another_environment_needs_no_peft() -> None:
    assert states(own=False, peft=None)["peft"] is State.NOTE


def test_the_cpu() -> None:
    assert doctor.judge_cpu("flags : avx avx2 avx512f", 4).state is State.OK
    assert doctor.judge_cpu("flags : avx", 4).state is State.MISSING
    assert doctor.judge_cpu("", 4).state is State.NOTE


def test_room_and_port() -> None:
    assert doctor.judge_room("memory", 5, 4, "free some").state is State.OK
    assert doctor.judge_room("memory", 3, 4, "free some").todo == "free some"

    def refuse() -> int:
        raise OSError(99, "Cannot assign requested address")

    assert doctor.judge_port(lambda: 8000).found == "127.0.0.1:8000 is free"
    assert doctor.judge_port(refuse).state is State.MISSING


def test_gpus_are_not_needed() -> None:
    assert doctor.judge_gpus(()).state is State.OK
    (one,) = gpus.parse("0, NVIDIA H100, 81559, 81000, 570.86.15")
    assert doctor.judge_gpus([one], ["/dev/nvidia0"]).found == "NVIDIA H100, 86 GB"
    assert doctor.judge_gpus([], ["/dev/nvidia0"]).state is State.NOTE


def test_device_files_of_gpus_alone_count(tmp_path: Path) -> None:
    for name in ("nvidia0", "nvidia12", "nvidiactl", "nvidia-uvm", "null"):
        (tmp_path / name).touch()
    assert gpus.devices(str(tmp_path)) == [f"{tmp_path}/nvidia0", f"{tmp_path}/nvidia12"]
