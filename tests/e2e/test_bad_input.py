"""Bad input and trouble, by the real command: message, exit code, report, no process left."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import venv
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from cli_run import MM_LORA, Verify

from mm_lora.adapters.broken import broken_copy
from mm_lora.adapters.sets import standard
from mm_lora.core.cache import copy_built
from mm_lora.core.resources import cache_dir
from mm_lora.families.models import resolve
from mm_lora.truth.build import Builder

PICTURE = "dice/scout/base/picture"
ONE = ("--only", PICTURE)
DICE = ("--only", "dice/scout/*")
Start = Callable[..., Verify]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Starts `mm-lora verify`, and ends it after the test."""
    started = []

    def begin(*arguments: str, **options: object) -> Verify:
        options.setdefault("reports", tmp_path / "reports")
        started.append(Verify(*arguments, **options))  # type: ignore[arg-type]
        return started[-1]

    yield begin
    for one in started:
        one.close()


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The miniature as a model folder of the user's, and adapters as a user has them."""
    folder = tmp_path_factory.mktemp("built")
    scout = resolve("scout")
    known = standard(scout.family)
    specs = [known["tower-mlp"], replace(known["projector"], name="wide", rank=16)]
    with Builder(Path(sys.executable)) as builder:
        adapters = builder.adapters(scout, specs)
        copy_built(builder.checkpoint(scout), folder / "mine")
    copy_built(adapters["tower-mlp"].path, folder / "mlp")
    copy_built(adapters["wide"].path, folder / "wide")
    broken_copy(folder / "mlp", folder / "foreign", "prefix")
    broken_copy(folder / "mlp", folder / "empty", "empty")
    shutil.copytree(folder / "mlp", folder / "cut")
    cut(folder / "cut" / "adapter_model.safetensors")
    (folder / "nothing").mkdir()
    return {path.name: path for path in folder.iterdir()}


def cut(file: Path) -> None:
    os.truncate(file, file.stat().st_size // 2)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--only", "dice/scout/nothing"], "matches no check"),
        (["--set", "port=70000"], "port=70000 is not a port"),
        (["--set", "start=quick"], "start=quick is not known"),
        (["--set", "mutant=mutant-none"], "no mutant 'mutant-none'"),
        (["--set", "mutant=mutant-forget-cls@dice/none"], "'dice/none' matches no check"),
        (["--model", "/no/where"], "no model '/no/where'"),
        (["--profile", "none"], "no profile 'none'"),
        (["--server-python", "/no/where"], "/no/where is not a program"),
        (["--adapter", "x"], "is not NAME=FOLDER"),
        (["--adapter", "projector=/"], "name 'projector' is taken"),
        (["--adapter", "x=/no/where"], "adapter 'x': there is no folder /no/where"),
    ],
)
def test_wrong_usage(start: Start, arguments: list[str], words: str) -> None:
    only = () if "--only" in arguments else ONE
    run = start(*only, *arguments).end()
    assert words in run.words
    assert "check: " in run.words
    assert "Traceback" not in run.text
    assert run.code == 2


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("nothing", "has no adapter_config.json"),
        ("empty", "adapter 'x' is empty"),
        ("cut", "is not a complete safetensors file"),
        ("wide", "adapter 'x' has rank 16; the server's maximum is 8"),
        ("foreign", "made for another model: scout has no module other.vision_model"),
        ("mine", "has no adapter_config.json"),
    ],
)
def test_unfit_adapter(start: Start, built: dict[str, Path], name: str, words: str) -> None:
    run = start("--only", "dice/scout/x/*", "--adapter", f"x={built[name]}").end()
    assert words in run.words
    assert run.code == 2
    assert not run.vllm_processes()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda folder: cut(folder / "model.safetensors"), "is not a complete safetensors file"),
        (lambda folder: (folder / "tokenizer.json").unlink(), "has no tokenizer.json"),
        (lambda folder: cut(folder / "config.json"), "config.json cannot be read"),
        (lambda folder: (folder / "config.json").unlink(), "has no config.json"),
    ],
    ids=["weights cut off", "no tokenizer", "config cut off", "no config"],
)
def test_damaged_model_folder(
    start: Start,
    built: dict[str, Path],
    tmp_path: Path,
    change: Callable[[Path], None],
    words: str,
) -> None:
    shutil.copytree(built["mine"], tmp_path / "mine")
    change(tmp_path / "mine")
    run = start("--model", str(tmp_path / "mine"), "--only", "dice/mine/base/picture").end()
    assert words in run.words
    assert run.code == 2
    assert not run.vllm_processes()


def test_no_vllm_and_an_unsupported_one(start: Start, tmp_path: Path) -> None:
    venv.create(tmp_path / "bare", symlinks=True)
    python = tmp_path / "bare" / "bin" / "python"
    run = start(*ONE, "--server-python", str(python)).end()
    assert f"there is no vLLM in {python}" in run.words
    assert (run.code, run.report["exit_code"], run.report["outcome"]) == (3, 3, "error")
    (packages,) = tmp_path.glob("bare/lib/python*/site-packages")
    (packages / "vllm").mkdir()
    (packages / "vllm" / "__init__.py").touch()
    information = packages / "vllm-0.15.1.dist-info"
    information.mkdir()
    (information / "METADATA").write_text("Metadata-Version: 2.1\nName: vllm\nVersion: 0.15.1\n")
    run = start(*ONE, "--server-python", str(python)).end()
    assert "vLLM 0.15.1 is not supported" in run.words
    assert "supported versions" in run.report["note"]
    assert run.code == 3


def test_port_taken(start: Start) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        run = start(*ONE, "--set", f"port={port}").end()
    assert f"port {port} on 127.0.0.1 is in use" in run.words
    assert (run.code, run.report["exit_code"]) == (2, 2)


def test_reports_folder_not_writable(start: Start, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    run = start(*ONE, reports=tmp_path / "file").end()
    assert f"the reports folder {tmp_path / 'file'} cannot be written" in run.words
    assert run.code == 3


def test_own_adapter_beside_a_refused_one_from_a_damaged_cache(
    start: Start, built: dict[str, Path], tmp_path: Path
) -> None:
    """One run: the cache is mended, vLLM starts without the adapter that it refuses."""
    cache = tmp_path / "cache"
    for kind in ("checkpoints", "adapters"):
        (cache / kind).mkdir(parents=True)
        for folder in (cache_dir() / kind).glob("scout-miniature-*"):
            shutil.copytree(folder, cache / kind / folder.name)
    for weights in cache.glob("checkpoints/*/model.safetensors"):
        cut(weights)
    mine = [f"dice/scout/mine/{variant}" for variant in ("picture", "effect", "text-only")]
    refused = "dice/scout/projector/picture"
    only = [word for one in (*mine, PICTURE, refused) for word in ("--only", one)]
    run = start(
        *only,
        *("--adapter", f"mine={built['mlp']}", "--set", "break=projector:empty"),
        environment={"MM_LORA_CACHE": str(cache)},
    ).end()
    assert "is damaged (model.safetensors has" in run.words
    assert "vLLM does not start with projector; starting without it" in run.words
    assert run.outcomes() == {**dict.fromkeys((*mine, PICTURE), "pass"), refused: "fail"}
    assert "vLLM refuses the adapter 'projector'" in run.reason(refused)
    assert list(run.report["servers"][1]["refused_adapters"]) == ["projector"]
    assert run.code == 1


@pytest.mark.parametrize("role", ["engine-core", "api-server"])
def test_server_killed_in_the_middle(start: Start, role: str) -> None:
    run = start(*DICE)
    run.wait_for(run.outcomes)
    os.kill(run.pid_of(role), signal.SIGKILL)
    run.end()
    outcomes = run.outcomes()
    assert outcomes[PICTURE] == "pass"
    assert set(outcomes.values()) <= {"pass", "error", "known-defect"}
    assert outcomes["dice/scout/base/two-pictures"] == "error"
    assert "was killed from outside" in run.reason("dice/scout/base/two-pictures")
    assert (run.code, run.report["exit_code"], run.report["finished"]) == (3, 3, True)


@pytest.mark.parametrize(
    ("number", "twice", "code"), [(signal.SIGINT, False, 130), (signal.SIGTERM, True, 143)]
)
def test_interrupted(start: Start, number: signal.Signals, twice: bool, code: int) -> None:
    """Once in the middle of the checks; twice while the server starts."""
    run = start(*DICE)
    run.wait_for(run.vllm_processes if twice else run.outcomes)
    run.send(number)
    if twice:
        time.sleep(0.2)
        run.send(number)
    run.end()
    assert (run.code, run.report["exit_code"]) == (code, code)
    assert run.report["finished"]
    assert "interrupted after" in run.report["note"]
    assert bool(run.outcomes()) != twice


def test_killed_and_shown(start: Start, tmp_path: Path) -> None:
    """SIGKILL leaves no time to write: what was judged until then is shown all the same."""
    run = start(*DICE)
    run.wait_for(lambda: PICTURE in run.outcomes())
    run.send(signal.SIGKILL)
    run.end()
    assert run.outcomes()[PICTURE] == "pass"
    assert not run.report["finished"]
    line = [str(MM_LORA), "report", "show", "latest", "--reports", str(run.reports)]
    shown = subprocess.run(line, capture_output=True, text=True, check=False)
    assert shown.returncode == 0, shown.stderr
    assert f"{run.report['counts']['pass']} pass" in shown.stdout


def test_disk_full_in_the_middle(start: Start, tmp_path: Path) -> None:
    """The reports are on a file system of 2 MB of their own, which fills after the first check."""
    small, kept = tmp_path / "small", tmp_path / "kept"
    small.mkdir()
    namespace = ["unshare", "--mount", *(["--user", "--map-root-user"] if os.getuid() else [])]
    if subprocess.run([*namespace, "true"], capture_output=True, check=False).returncode:
        pytest.skip("this machine allows no mount of our own")
    script = f"""
        mount -t tmpfs -o size=2m tmpfs {small} || exit 99
        "$@" & pid=$!
        until grep -qs '"outcome": "pass"' {small}/reports/latest/report.json \
            {small}/reports/latest/journal.jsonl
        do kill -0 $pid || exit 98; sleep 0.05; done
        dd if=/dev/zero of={small}/fill bs=4k 2>/dev/null
        wait $pid; code=$?
        cp -r {small}/reports {kept}
        exit $code"""
    run = start(*DICE, reports=small / "reports", before=[*namespace, "sh", "-c", script, "sh"])
    run.end()
    run.reports = kept
    assert "No space left on device" in run.words
    assert "check: free space" in run.words
    assert "INTERNALERROR" not in run.text
    assert run.outcomes()[PICTURE] == "pass"
    assert run.code == 3


def test_the_command_is_the_one_of_this_environment() -> None:
    assert MM_LORA.is_file()
