"""What a dead server's log means: one row per cause, with lines as vLLM 0.32.0 writes them."""

from pathlib import Path

import pytest

from mm_lora.serving.server.causes import CAUSES
from mm_lora.serving.server.diagnose import describe_exit, diagnose, trouble
from mm_lora.serving.server.log import ServerLog

ENGINE = "(EngineCore pid=7) ERROR 11-23 18:11:18 [core.py:1200] "
WORKER = "(Worker pid=9) ERROR 11-23 18:11:18 [multiproc_executor.py:900] "

LOGS = [
    ("no-vllm", "/bin/python: Error while finding module: No module named 'vllm'"),
    ("no-vllm", "ModuleNotFoundError: No module named 'vllm'"),
    ("no-module", "ModuleNotFoundError: No module named 'uvloop'"),
    ("no-fast-start", "mm-lora: a fast start was asked for and is not possible: not with --x"),
    ("port-taken", "OSError: [Errno 98] Address already in use"),
    ("disk-full", WORKER + "OSError: [Errno 28] No space left on device"),
    ("rank-too-high", "ValueError: LoRA rank 64 is greater than max_lora_rank 8."),
    ("adapter-missing", "ValueError: Loading lora x failed: No adapter found for /no/where"),
    ("adapter-unfit", "ValueError: expected target modules in ['o_proj'] but received ['x']"),
    ("unknown-flag", "api_server.py: error: unrecognized arguments: --frobnicate 3"),
    ("bad-flag", "api_server.py: error: argument --dtype: invalid choice: 'float7'"),
    ("checkpoint-damaged", WORKER + "safetensors_rust.SafetensorError: header too large"),
    ("checkpoint-wrong", "json.decoder.JSONDecodeError: Expecting value: line 1 column 1"),
    ("row-count", WORKER + "RuntimeError: einsum(): operands do not broadcast 577 and 576"),
    ("triton-missing", WORKER + "ModuleNotFoundError: No module named 'triton'"),
    ("out-of-memory", "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2 GiB"),
    (
        "no-tower-lora",
        WORKER + "TypeError: empty() received an invalid combination of arguments - got "
        "(NoneType, int), but expected one of",
    ),
    ("torchvision", "RuntimeError: operator torchvision::nms does not exist"),
]


@pytest.mark.parametrize(("kind", "line"), LOGS)
def test_a_line_of_each_kind(kind: str, line: str) -> None:
    log = f"(APIServer pid=3) INFO 11-23 18:11:10 [x.py:1] hello\n{line}\nRuntimeError: later\n"
    found = diagnose(log, 1)
    assert found.kind == kind
    assert found.cause
    assert found.check
    assert "{0}" not in found.cause


def test_every_kind_has_an_example() -> None:
    assert {entry.kind for entry in CAUSES} == {kind for kind, _ in LOGS}


READY = "INFO:     Application startup complete.\n"
NO_FOLDER = (
    "(APIServer pid=3) ERROR 11-23 18:11:12 [serving.py:9] ValueError: No adapter found for /x\n"
)


def test_an_adapter_that_was_refused_is_not_what_a_server_died_of_later() -> None:
    later = WORKER + "RuntimeError: einsum(): operands do not broadcast 577 and 576\n"
    assert diagnose(READY + NO_FOLDER + later, 1).kind == "row-count"
    odd = WORKER + "AssertionError: len(scheduled_loras) <= max_loras\n"
    assert diagnose(READY + NO_FOLDER + odd, 1).kind == "error"


def test_an_adapter_may_end_a_server_that_was_ready() -> None:
    symptoms = "vllm.v1.engine.exceptions.EngineDeadError: EngineCore encountered an issue.\n"
    assert diagnose(READY + NO_FOLDER + symptoms, 1).kind == "adapter-missing"
    told = "RuntimeError: Worker failed with error 'No adapter found for /x'\n"
    assert diagnose(READY + NO_FOLDER + told, 1).kind == "adapter-missing"


def test_details_are_quoted() -> None:
    assert "rank 64" in diagnose("LoRA rank 64 is greater than max_lora_rank 8", 1).cause
    assert "577" in diagnose("RuntimeError: einsum(): 577 vs 576", 1).cause


def test_what_a_healthy_server_says_is_no_cause() -> None:
    log = (
        "Triton is installed, but doesn't include CPU backend. Disabling Triton.\n"
        "(APIServer pid=1) WARNING 11-23 18:00:00 [cpu.py:224] Triton is not installed.\n"
        "\x1b[32mINFO\x1b[0m:     Finished server process [1]\n"
        "nanobind: leaked 4 instances!\n - leaked instance 0x7f of type\n"
    )
    assert trouble(log) == ""
    assert diagnose(log, 1).kind == "unknown"


@pytest.mark.parametrize(
    ("log", "exit_code", "kind", "signal"),
    [
        ("", -9, "killed", 9),
        ("", -15, "ended", 15),
        ("", -11, "crashed", 11),
        (
            ENGINE + "Worker proc VllmWorker-0 died unexpectedly (exit code: -9), shutting down",
            0,
            "killed",
            9,
        ),
        (
            ENGINE
            + "Worker proc VllmWorker-0 died unexpectedly (exit code: None), shutting down\n"
            + ENGINE
            + "RuntimeError: cancelled\n"
            "vllm.v1.engine.exceptions.EngineDeadError: EngineCore encountered",
            0,
            "killed",
            9,
        ),
        (
            WORKER
            + "KeyError: 'what it was'\n"
            + ENGINE
            + "Worker proc VllmWorker-0 died unexpectedly (exit code: None), shutting down\n"
            + ENGINE
            + "RuntimeError: cancelled",
            0,
            "error",
            None,
        ),
        ("vllm.v1.engine.exceptions.EngineDeadError: EngineCore encountered", 0, "killed", 9),
        (
            ENGINE + "ValueError: what it was\n"
            "RuntimeError: Engine core initialization failed. See root cause above.",
            1,
            "error",
            None,
        ),
        ("OSError: [Errno 28] No space left on device", -6, "disk-full", 6),
    ],
)
def test_signals_and_exceptions_are_told_apart(
    log: str, exit_code: int, kind: str, signal: int | None
) -> None:
    found = diagnose(log, exit_code)
    assert (found.kind, found.by_signal) == (kind, signal)


def test_symptoms_are_not_the_cause() -> None:
    log = (
        WORKER + "KeyError: 'the cause'\n"
        "RuntimeError: Engine core initialization failed. See root cause above."
    )
    assert diagnose(log, 1).cause == "KeyError: 'the cause'"


@pytest.mark.parametrize("underlined", [f"{ENGINE}           ^^^^^^^^^^^^^^^^\n", ""])
def test_an_exception_without_a_message_is_told_by_its_line(underlined: str) -> None:
    log = f"{ENGINE}    assert a <= b\n{underlined}{ENGINE}AssertionError\n"
    assert diagnose(log, 0).cause == "AssertionError at `assert a <= b`"


@pytest.mark.parametrize(
    ("code", "text"), [(1, "exit code 1"), (-9, "signal 9 (SIGKILL)"), (-99, "signal 99 (unknown)")]
)
def test_exits_are_described(code: int, text: str) -> None:
    assert describe_exit(code) == text


REFUSED = f"""(APIServer pid=3) INFO Loaded new LoRA adapter: name 'a', path '/a'
{WORKER}Traceback (most recent call last):
{WORKER}StopIteration
  File "models/serving.py", line 139, in init_static_loras
ValueError: Call failed: Worker failed with error '', please check the stack trace above
"""


def test_the_adapter_that_is_refused_is_the_first_that_was_not_loaded(tmp_path: Path) -> None:
    log = ServerLog(tmp_path / "server.log")
    assert log.refused_adapter(("a", "b")) is None
    log.path.write_text(REFUSED, encoding="utf-8")
    assert log.refused_adapter(("a", "b", "c")) == "b"
    assert log.refused_adapter(("a",)) is None
    assert log.diagnosis(1).cause == "StopIteration"
    log.path.write_text(REFUSED.replace("init_static_loras", "run_server"), encoding="utf-8")
    assert log.refused_adapter(("a", "b", "c")) is None
