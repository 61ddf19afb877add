"""The worker as a process: its protocol, its death, its time limit, and that nothing is left."""

import os
import signal
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from mm_lora.core.errors import BuildError
from mm_lora.families.models import resolve
from mm_lora.truth.build import processor_files
from mm_lora.truth.worker_client import WorkerClient

PYTHON = Path(sys.executable)


def order(folder: Path) -> dict[str, Any]:
    """A checkpoint job that takes some seconds: it imports torch and transformers."""
    model = resolve("scout")
    return {
        "side": model.family.torch_side,
        "folder": str(folder),
        **processor_files(model),
        "seed": 0,
    }


def process_of(client: WorkerClient) -> int:
    """The worker's process id, which is its group's too."""
    assert client._process is not None
    return client._process.pid


def is_gone(pid: int) -> bool:
    """Whether no process of that group is left."""
    try:
        os.killpg(pid, 0)
    except ProcessLookupError:
        return True
    return False


def test_one_process_serves_several_jobs() -> None:
    said: list[str] = []
    with WorkerClient(PYTHON, said.append) as client:
        assert client.call("versions")["packages"]["torch"]
        pid = process_of(client)
        assert os.getpgid(pid) == pid != os.getpgid(0)
        assert client.call("versions")["python"].startswith(f"3.{sys.version_info.minor}.")
        assert process_of(client) == pid
    assert is_gone(pid)
    assert len(said) == 1
    with pytest.raises(BuildError, match="was closed"):
        client.call("versions")


def test_a_failed_job_says_why_and_the_next_one_works(tmp_path: Path) -> None:
    with WorkerClient(PYTHON) as client:
        with pytest.raises(BuildError, match="no job 'magic'"):
            client.call("magic")
        with pytest.raises(BuildError, match="unexpected keyword argument") as raised:
            client.call("versions", wrong=str(tmp_path))
        assert "Traceback" in raised.value.what  # the worker's last lines
        assert client.call("versions")


def test_prints_do_not_disturb_the_answers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The caller's PYTHONPATH reaches the worker, and what a library there prints does no harm."""
    noise = "import os\nprint('hello')\nos.write(1, b'raw hello\\n')\nraise ImportError('noise')\n"
    (tmp_path / "torch.py").write_text(noise)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    with WorkerClient(PYTHON) as client:
        with pytest.raises(BuildError, match="ImportError: noise") as raised:
            client.call("checkpoint", **order(tmp_path))
        assert "raw hello" in raised.value.what
        assert client.call("versions")


def test_time_limit(tmp_path: Path) -> None:
    with WorkerClient(PYTHON) as client:
        client.call("versions")
        pid = process_of(client)
        began = time.monotonic()
        with pytest.raises(BuildError, match="did not end in time"):
            client.call("checkpoint", timeout_s=0.3, **order(tmp_path))
        assert time.monotonic() - began < 5
        assert is_gone(pid)


def test_killed_worker(tmp_path: Path) -> None:
    with WorkerClient(PYTHON) as client:
        client.call("versions")
        pid = process_of(client)
        threading.Timer(0.3, os.killpg, (pid, signal.SIGKILL)).start()
        with pytest.raises(BuildError, match=r"died in its job 'checkpoint' \(signal SIGKILL"):
            client.call("checkpoint", **order(tmp_path))
        assert client.call("versions")  # a new worker


def test_close_does_not_wait_for_a_job_of_another_thread(tmp_path: Path) -> None:
    client = WorkerClient(PYTHON)
    client.call("versions")
    pid = process_of(client)
    errors: list[BuildError] = []

    def work() -> None:
        try:
            client.call("checkpoint", **order(tmp_path))
        except BuildError as error:
            errors.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    time.sleep(0.3)
    began = time.monotonic()
    client.close()
    thread.join()
    assert time.monotonic() - began < 3
    assert len(errors) == 1
    assert is_gone(pid)


@pytest.mark.parametrize("python", ["/nowhere/python", "/bin/false"])
def test_no_interpreter(python: str) -> None:
    with WorkerClient(Path(python)) as client, pytest.raises(BuildError, match="worker"):
        client.call("versions")
