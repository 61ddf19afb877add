"""A diff is read and applied strictly; what does not fit is named by file and hunk."""

import difflib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mm_lora.serving.unified_diff import NULL, DoesNotApply, apply, parse

TEXT = "".join(f"line {n}\n" for n in range(1, 21))


def diff(old: str, new: str, name: str = "vllm/x.py", context: int = 3) -> str:
    lines = difflib.unified_diff(
        old.splitlines(True), new.splitlines(True), f"a/{name}", f"b/{name}", n=context
    )
    return "".join(x if x.endswith("\n") else x + "\n\\ No newline at end of file\n" for x in lines)


def applied(old: str, text: str) -> str:
    (change,) = parse(text)
    return apply(old, change)


@given(st.lists(st.sampled_from("abc"), max_size=12), st.lists(st.sampled_from("abc"), max_size=12))
def test_what_difflib_writes_gives_the_new_text(old: list[str], new: list[str]) -> None:
    before, after = "\n".join(old), "\n".join(new)
    if before != after:
        assert applied(before, diff(before, after)) == after


def test_lines_moved_elsewhere_are_found() -> None:
    text = diff(TEXT, TEXT.replace("line 10\n", "ten\n"))
    assert applied("new\nnew\n" + TEXT, text) == "new\nnew\n" + TEXT.replace("line 10\n", "ten\n")


def test_a_hunk_that_does_not_fit_is_named() -> None:
    two = TEXT.replace("line 3\n", "three\n").replace("line 16\n", "sixteen\n")
    with pytest.raises(
        DoesNotApply, match=r"hunk 2 of vllm/x.py .*line 15 is 'other', not 'line 15'"
    ):
        applied(TEXT.replace("line 15\n", "other\n"), diff(TEXT, two))


def test_what_is_in_already_is_said() -> None:
    new = TEXT.replace("line 10\n", "ten\n")
    with pytest.raises(DoesNotApply, match="has its result already"):
        applied(new, diff(TEXT, new))


def test_no_context_is_skipped_over_by_a_later_hunk() -> None:
    """Two equal places: the second hunk may not take the one that the first has used."""
    old = "a\nb\na\nb\n"
    text = "--- a/vllm/x.py\n+++ b/vllm/x.py\n@@ -1,2 +1 @@\n a\n-b\n@@ -1,2 +1 @@\n a\n-b\n"
    assert applied(old, text) == "a\na\n"


def test_new_and_deleted_files() -> None:
    added, gone, empty = parse(
        "diff --git a/vllm/n.py b/vllm/n.py\nnew file mode 100644\n--- /dev/null\n"
        "+++ b/vllm/n.py\n@@ -0,0 +1,2 @@\n+one\n+two\n"
        "diff --git a/vllm/o.py b/vllm/o.py\ndeleted file mode 100644\n--- a/vllm/o.py\n"
        "+++ /dev/null\n@@ -1 +0,0 @@\n-old\n"
        "diff --git a/vllm/e.py b/vllm/e.py\nnew file mode 100644\nindex 0..0\n"
    )
    assert (added.old, added.path, apply("", added)) == (NULL, "vllm/n.py", "one\ntwo\n")
    assert (gone.new, gone.path, apply("old\n", gone)) == (NULL, "vllm/o.py", "")
    assert (empty.path, empty.hunks) == ("vllm/e.py", ())


@pytest.mark.parametrize(
    ("body", "why"),
    [
        ("Binary files a/vllm/x.so and b/vllm/x.so differ\n", "binary"),
        ("similarity index 90%\nrename from vllm/a.py\nrename to vllm/b.py\n", "renamed"),
    ],
)
def test_what_has_no_lines_says_why(body: str, why: str) -> None:
    (change,) = parse("diff --git a/vllm/a.py b/vllm/b.py\n" + body)
    assert why in change.unreadable


@pytest.mark.parametrize(
    "text",
    ["not a diff\n", "--- a/x\n+++ b/x\n", "--- a/x\n+++ b/x\n@@ -1,3 +1,3 @@\n a\n-b\n"],
)
def test_what_is_no_diff_is_refused(text: str) -> None:
    with pytest.raises(DoesNotApply):
        parse(text)


@pytest.mark.parametrize("rest", ["", "diff --git a/vllm/y.py b/vllm/y.py\n"])
def test_a_hunk_that_ends_too_early_is_named(rest: str) -> None:
    second = "@@ -1 +1 @@\n-a\n+b\n@@ -5,3 +5,3 @@\n a\n-b\n"
    with pytest.raises(DoesNotApply, match=r"hunk 2 of vllm/x\.py, line \d of the diff"):
        parse("--- a/vllm/x.py\n+++ b/vllm/x.py\n" + second + rest)


def test_a_change_of_mode_is_none() -> None:
    assert parse("diff --git a/vllm/x b/vllm/x\nold mode 100644\nnew mode 100755\n") == []


@pytest.mark.parametrize("old", ["vllm/x.py.orig", "old/vllm/x.py"])
def test_names_that_only_look_like_a_rename(old: str) -> None:
    """What `diff -u` writes of two files."""
    text = diff(TEXT, TEXT.replace("line 10\n", "ten\n")).replace("a/vllm/x.py", old)
    (change,) = parse(text)
    assert (change.path, change.unreadable) == ("vllm/x.py", "")


def test_other_ends_of_line_stay() -> None:
    """A form feed ends no line; a carriage return belongs to it."""
    old, new = "a\x0cb\r\n\u2028c\r\n", "a\x0cd\r\n\u2028c\r\n"
    text = "--- a/x\n+++ b/x\n@@ -1,2 +1,2 @@\n-a\x0cb\r\n+a\x0cd\r\n \u2028c\r\n"
    assert applied(old, text) == new


def test_an_empty_line_of_context_may_have_lost_its_blank() -> None:
    text = "--- a/x\n+++ b/x\n@@ -1,3 +1,3 @@\n a\n\n-b\n+c\n\nof a mail\n"
    assert applied("a\n\nb\n", text) == "a\n\nc\n"


def test_an_empty_diff_has_no_files() -> None:
    assert parse("") == parse("\n") == []
