"""The vLLM that a word names: a version, with a cached environment of its own, or a path."""

import os
import sys
from collections.abc import Callable
from pathlib import Path

from packaging.version import InvalidVersion, Version

from mm_lora.core.errors import MmLoraError, UsageError
from mm_lora.core.interpreters import facts, supported
from mm_lora.core.resources import cache_dir
from mm_lora.install.version import set_up_version


def environments() -> Path:
    """Where the environments of versions are kept."""
    return cache_dir() / "environments"


def is_path(word: str) -> bool:
    """Whether it names an interpreter, not a version."""
    return os.sep in word


def require_version(word: str) -> None:
    """Raise UsageError unless it is a supported version or a program."""
    if is_path(word):
        if not Path(word).is_file() or not os.access(word, os.X_OK):
            raise UsageError(
                f"{word} is not a program that can be run",
                "the path of a Python interpreter that has vLLM, or a version such as 0.17.0",
            )
        return
    try:
        Version(word)
    except InvalidVersion:
        raise UsageError(
            f"'{word}' is not a version", "a version such as 0.17.0, or an interpreter's path"
        ) from None
    if not supported(word):
        raise UsageError(f"vLLM {word} is not supported", "`mm-lora doctor` shows the range")


def interpreter(word: str, say: Callable[[str], None]) -> Path:
    """The path as given, the tool's own for its own version, else the version's environment."""
    if is_path(word):
        return Path(word)
    if facts(Path(sys.executable)).vllm == word:
        say(f"vLLM {word} is the tool's own")
        return Path(sys.executable)
    return set_up_version(word, environments(), say)


def main(word: str) -> int:
    """Print the interpreter that a word names: what `action.yml` asks for. An exit code."""
    try:
        require_version(word)
        print(interpreter(word, lambda line: print(line, file=sys.stderr)))
    except MmLoraError as error:
        print(f"mm-lora: {error}", file=sys.stderr)
        return int(error.exit_code)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
