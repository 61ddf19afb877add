"""Makes the pinned files with hashes anew from pyproject.toml and the *.in files: `make lock`.

cpu.txt has everything but torch; torch-general.txt has torch and the CUDA libraries that its
general build needs: so both torch routes share each other pin. No index address and no find-links
line is written: those are the user's.

pip.txt has what pip installs by itself: uv, and soundfile. Where two indexes have different wheels
of one release, pip takes the one that suits the machine best, uv that of the first index; and
soundfile's wheel for any machine lacks libsndfile, so that its import raises in every server.

docs.txt has what builds the site, in an environment without the rest.
"""

import re
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
HEADER = "# Written by `make lock`. Pins for Linux x86_64, Python 3.11 to 3.13.\n"
OPTIONS = (
    *("--python-version", "3.11"),
    *("--python-platform", "x86_64-manylinux_2_28", "--generate-hashes"),
    *("--no-emit-index-url", "--no-annotate", "--no-header", "--quiet"),
)
OURS = ("pyproject.toml", "--extra", "dev")


def compile_pins(uv: str, *arguments: str) -> str:
    """The text of one resolution; uv's own message goes to the terminal if there is none."""
    command = [uv, "pip", "compile", *OPTIONS, *arguments]
    return subprocess.run(
        command, cwd=HERE.parent, check=True, stdout=subprocess.PIPE, text=True
    ).stdout


def blocks(pins: str) -> list[str]:
    """One text per package: its pin and the hashes under it."""
    return [block for block in re.split(r"(?m)^(?=\S)", pins) if block.strip()]


def belongs_to_torch(block: str) -> bool:
    """For torch, torchvision, the CUDA libraries; triton stays, since xgrammar asks for it too."""
    return re.match(r"(torch|torchvision|nvidia-[\w-]+|cuda-[\w-]+)==", block) is not None


def is_for_pip(block: str) -> bool:
    """For the packages that pip installs, without what they need."""
    return re.match(r"(uv|soundfile)==", block) is not None


def main(uv: str) -> None:
    """Writes pip.txt, cpu.txt, torch-general.txt, gpu.txt and docs.txt beside this file."""
    overrides = ("--overrides", "requirements/overrides.txt")
    cpu = blocks(compile_pins(uv, *OURS, "requirements/cpu.in", *overrides))
    own_torch = ("--overrides", "requirements/overrides-own-torch.txt")
    gpu = blocks(compile_pins(uv, *OURS, "requirements/gpu.in", *own_torch))
    tool = blocks(compile_pins(uv, *OURS, "requirements/pip.in", *overrides))
    files = {
        "cpu.txt": [
            block for block in cpu if not belongs_to_torch(block) and not is_for_pip(block)
        ],
        "torch-general.txt": [block for block in cpu if belongs_to_torch(block)],
        "gpu.txt": [block for block in gpu if not is_for_pip(block)],
        "pip.txt": [block for block in tool if is_for_pip(block)],
        "docs.txt": blocks(compile_pins(uv, "requirements/docs.in")),
    }
    for name, pins in files.items():
        (HERE / name).write_text(HEADER + "".join(pins))
        print(f"{name}: {len(pins)} packages")


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else "uv")
