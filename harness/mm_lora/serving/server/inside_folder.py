"""Makes our plugin visible to any interpreter: a PYTHONPATH folder with package and metadata."""

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mm_lora import inside
from mm_lora.core.version import __version__
from mm_lora.serving.server.command import PLUGIN_NAME

PACKAGE = "mm_lora_inside"

# Two groups, one name (VLLM_PLUGINS filters by name): platform plugins are asked before
# transformers imports torchvision, general plugins when the process knows what it is.
_ENTRY_POINTS = f"""\
[vllm.platform_plugins]
{PLUGIN_NAME} = {PACKAGE}.plugin:early

[vllm.general_plugins]
{PLUGIN_NAME} = {PACKAGE}.plugin:register
"""


def copy_package(folder: Path) -> None:
    """Copy `inside` into `folder`, as a top-level package.

    A copy, not a link: the server must not see the rest of the harness, nor what is installed
    beside it, and a kept server outlives an edit of the checkout.
    """
    shutil.copytree(
        Path(inside.__file__).parent,
        folder / PACKAGE,
        ignore=shutil.ignore_patterns("__pycache__"),
        dirs_exist_ok=True,
    )


def write_plugin_folder(folder: Path) -> Path:
    """Copy `inside` beside its dist-info into `folder`; returns it."""
    copy_package(folder)
    information = folder / f"{PACKAGE}-{__version__}.dist-info"
    information.mkdir(exist_ok=True)
    (information / "METADATA").write_text(
        f"Metadata-Version: 2.1\nName: {PACKAGE}\nVersion: {__version__}\n",
        encoding="utf-8",
    )
    (information / "entry_points.txt").write_text(_ENTRY_POINTS, encoding="utf-8")
    return folder


def write_config(path: Path, config: Mapping[str, Any]) -> None:
    """The one JSON file that the plugin reads, named by MM_LORA_INSIDE."""
    path.write_text(json.dumps(config, indent=1), encoding="utf-8")
