"""Runs pip and uv inside an environment, and turns their failures into clear errors."""

import os
import subprocess
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from mm_lora.core.errors import InstallError
from mm_lora.install import client_settings, recipes

Say = Callable[[str], None]

# what the package client's last words mean: (a word in them, what to check)
_CAUSES: tuple[tuple[tuple[str, ...], str], ...] = (
    (("no space left", "disk quota"), "the disk is full: free some space and call again"),
    (
        ("hash mismatch", "do not match the hashes", "hashes are required"),
        "an index serves another file than the pinned one: look at `pip config list` and at uv's "
        "configuration",
    ),
    (
        ("certificate",),
        "a proxy with a certificate of its own? name its CA file "
        "(`pip config set global.cert FILE`, or SSL_CERT_FILE)",
    ),
    (
        (
            "failed to fetch",
            "error sending request",
            "dns error",
            "connection",
            "newconnectionerror",
            "timed out",
        ),
        "no network, or the package index cannot be reached: look at the connection, the proxy "
        "variables and `pip config list`",
    ),
    (
        (
            "no solution found",
            "no matching distribution",
            "could not find a version",
            "no version of",
        ),
        "the configured package indexes lack a pinned package: look at `pip config list` and at "
        "uv's configuration",
    ),
)
_UNKNOWN = "the client's own message above; a second call starts over"


def probable_check(output: str) -> str:
    """What to check, judged by what the package client printed."""
    lowered = output.lower()
    for words, check in _CAUSES:
        if any(word in lowered for word in words):
            return check
    return _UNKNOWN


def worth_showing(line: str) -> bool:
    """Drops uv's list of two hundred installed packages and pip's progress."""
    return bool(line.strip()) and not line.startswith((" + ", " - ", " ~ ", "Using Python"))


def run(
    command: Sequence[str], what: str, say: Say, environ: Mapping[str, str] | None = None
) -> None:
    """Runs one command, its output shown line by line; InstallError with the probable cause."""
    tail: list[str] = []
    process = subprocess.Popen(
        command,
        env=environ,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
    )
    with process:
        assert process.stdout is not None
        try:
            for line in process.stdout:
                tail = [*tail[-40:], line]
                if worth_showing(line):
                    say(f"  {line.rstrip()}")
        except BaseException:
            process.terminate()  # interrupted: leave no download running
            raise
    if process.returncode != 0:
        raise InstallError(
            f"{what} failed ({Path(command[0]).name} ended with {process.returncode})",
            probable_check("".join(tail)),
        )


class Environment:
    """The package clients of one environment: its own pip, and a pinned uv that pip put there."""

    def __init__(self, folder: Path, say: Say) -> None:
        self.python = folder / "bin" / "python"
        self._uv = folder / "bin" / "uv"
        self._say = say
        self._environ: dict[str, str] | None = None

    def install_by_pip(self) -> None:
        """pip installs uv by hash, and what uv would choose badly; pip reads the user's own
        configuration by itself."""
        pins = recipes.requirements_dir() / recipes.BY_PIP
        command = [
            str(self.python),
            "-m",
            "pip",
            "install",
            "-qq",
            "--no-deps",
            "--require-hashes",
            "-r",
            str(pins),
        ]
        # a `user = true` in pip's configuration would refuse, or miss, the environment
        environ = {**os.environ, "PIP_USER": "0"}
        run(command, "installing uv and soundfile with pip", self._say, environ)

    def environ(self) -> dict[str, str]:
        """uv's environment: the caller's, and what pip is configured with in uv's words."""
        if self._environ is None:
            listed = subprocess.run(
                [str(self.python), "-m", "pip", "config", "list"],
                capture_output=True,
                text=True,
                check=False,
            )
            pip = client_settings.parse_config_list(listed.stdout)
            self._environ = {**os.environ, **client_settings.uv_variables(pip, os.environ)}
        return self._environ

    def finds(self, requirement: str) -> bool:
        """Whether uv can install one package, its requirements aside.

        Raises InstallError when the indexes could not be asked.
        """
        answer = subprocess.run(
            [
                str(self._uv),
                "pip",
                "compile",
                "--quiet",
                "--no-deps",
                "--python",
                str(self.python),
                "-",
            ],
            input=requirement,
            env=self.environ(),
            capture_output=True,
            text=True,
            check=False,
        )
        if answer.returncode in (0, 1):  # 1: asked, and there is none
            return answer.returncode == 0
        self._say(answer.stderr.rstrip())
        raise InstallError(
            f"could not ask the package indexes for {requirement}", probable_check(answer.stderr)
        )

    def compile(self, folder: Path) -> None:
        """Compiles Python files that no client installed; a folder that is not ours to write in
        stays as it is."""
        command = [str(self.python), "-m", "compileall", "-q", "-j", "0", str(folder)]
        subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, check=False)

    def install(self, what: str, *arguments: str, environ: Mapping[str, str] | None = None) -> None:
        """`uv pip install ARGUMENTS` into the environment."""
        command = [str(self._uv), "pip", "install", "--python", str(self.python), *arguments]
        run(command, f"installing {what}", self._say, environ or self.environ())
