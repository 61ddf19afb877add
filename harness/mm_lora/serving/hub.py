"""Model repositories: where the hub's cache keeps one on this disk, and how it is fetched."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

from mm_lora.core.errors import TroubleError
from mm_lora.core.hub_cache import cache_folder

# In a process of its own: the interpreter with transformers has huggingface_hub too. Its progress
# bars go to the terminal; the last line of stdout is the answer.
_FETCH = """
import json, sys
from huggingface_hub import errors, hf_hub_download, snapshot_download
repository, revision, what = sys.argv[1], sys.argv[2] or None, sys.argv[3]
try:
    if what == "config":
        found = hf_hub_download(repository, "config.json", revision=revision)
    else:
        found = snapshot_download(repository, revision=revision, ignore_patterns=["original/*"])
    answer = {"path": found}
except errors.GatedRepoError: answer = {"error": "gated"}
except errors.RepositoryNotFoundError: answer = {"error": "not-found"}
except errors.RevisionNotFoundError: answer = {"error": "no-revision"}
except Exception as error: answer = {"error": "other", "said": f"{type(error).__name__}: {error}"}
print(json.dumps(answer))
"""


def require_access(repository: str, revision: str, python: Path | None = None) -> None:
    """Fetch the repository's config.json. Raises TroubleError that says what stands in the way."""
    _fetch(repository, revision, "config", python, timeout_s=60)


def download(
    repository: str, revision: str, say: Callable[[str], None], python: Path | None = None
) -> Path:
    """Fetch the whole repository, what is already there left out; its folder."""
    say(f"downloading {repository} into {cache_folder()}; a second call goes on where one ended")
    return Path(_fetch(repository, revision, "all", python, timeout_s=None))


def _fetch(
    repository: str, revision: str, what: str, python: Path | None, timeout_s: float | None
) -> str:
    environment = {**os.environ, "HF_HUB_DISABLE_TELEMETRY": "1"}
    environment.pop("HF_HUB_OFFLINE", None)
    command = [str(python or sys.executable), "-c", _FETCH, repository, revision, what]
    try:
        ran = subprocess.run(
            command, stdout=subprocess.PIPE, text=True, timeout=timeout_s, env=environment
        )
        answer = json.loads(ran.stdout.splitlines()[-1])
    except (OSError, subprocess.TimeoutExpired, ValueError, IndexError) as error:
        answer = {"error": "other", "said": type(error).__name__}
    if "path" in answer:
        return str(answer["path"])
    raise refusal(repository, revision, answer)


def refusal(repository: str, revision: str, answer: Mapping[str, str]) -> TroubleError:
    """What the hub's refusal means, and what to do."""
    disk = "or name a folder that has the weights: --model FOLDER"
    if answer["error"] == "gated":
        return TroubleError(
            f"the model {repository} is gated, and this account or token has no access",
            f"accept its licence at https://huggingface.co/{repository} and set HF_TOKEN to a "
            f"token of that account, {disk}",
        )
    if answer["error"] == "not-found":
        return TroubleError(
            f"the hub has no model {repository} for you: no such name, or a missing HF_TOKEN",
            f"the name, and HF_TOKEN, {disk}",
        )
    if answer["error"] == "no-revision":
        return TroubleError(
            f"the model {repository} has no revision '{revision}'", "revision in the profile"
        )
    return TroubleError(
        f"the model {repository} cannot be fetched: {answer.get('said', '')[:300]}",
        f"the network and HF_ENDPOINT, {disk}",
    )
