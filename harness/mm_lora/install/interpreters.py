"""Finds a Python that the environment can be made with: the running one, else one on PATH.

Parsed by any Python from 3.7 on, since the running one may be the wrong one.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

OLDEST = (3, 11)
NEWEST = (3, 13)
_HANDED_OVER = "MM_LORA_SETUP_PYTHON"

_PROBE = "import sys, venv, ensurepip; print(sys.version_info[0], sys.version_info[1])"


def fits(version: tuple[int, ...]) -> bool:
    """Whether a version is one that the pins are made for."""
    return OLDEST <= version[:2] <= NEWEST


def candidates() -> list[str]:
    """Command names to look for on PATH, the newest Python first."""
    return ["python3.%d" % minor for minor in range(NEWEST[1], OLDEST[1] - 1, -1)]


def find_on_path() -> str | None:
    """The first candidate that runs (a version manager's shim may not) and has its venv module."""
    for name in candidates():
        found = shutil.which(name)
        if found is None:
            continue
        try:
            answer = subprocess.run(
                [found, "-c", _PROBE],
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                timeout=30,
                check=False,
            )
        except (OSError, subprocess.TimeoutExpired):
            continue
        numbers = answer.stdout.split()
        if (
            answer.returncode == 0
            and len(numbers) == 2
            and fits((int(numbers[0]), int(numbers[1])))
        ):
            return found
    return None


def unfit_message(version: tuple[int, ...]) -> str:
    """What is said when neither the running Python nor any on PATH fits."""
    return (
        "setup: mm-lora needs Python %d.%d to %d.%d; this is %d.%d, and PATH has no other "
        "that runs and has its venv module\n"
        "  check: install one, or name it, as in `make setup PYTHON=/path/to/python3.11`"
    ) % (OLDEST + NEWEST + version[:2])


def hand_over_if_unfit() -> None:
    """Unless this Python fits: goes on as one that does, or ends with a message and code 3."""
    version = tuple(sys.version_info[:2])
    if fits(version):
        return
    found = None if os.environ.get(_HANDED_OVER) else find_on_path()
    if found is None:
        sys.stderr.write(unfit_message(version) + "\n")
        sys.exit(3)
    os.environ[_HANDED_OVER] = found
    os.execv(found, [found, str(Path(__file__).resolve().parent)] + sys.argv[1:])
