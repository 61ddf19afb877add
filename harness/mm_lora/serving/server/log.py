"""A server's log: its last lines, and what they say about the server's end."""

import os
import re
from collections.abc import Sequence
from pathlib import Path

from mm_lora.serving.server.diagnose import Diagnosis, diagnose, trouble

_READ_BYTES = 400_000
_TAIL_LINES = 40


class ServerLog:
    """Reads the end of a log that is being written; a missing one is empty."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def tail(self, lines: int = _TAIL_LINES) -> str:
        """The last lines that a healthy server would not have."""
        return "\n".join(trouble(self._end()).splitlines()[-lines:])

    def diagnosis(self, exit_code: int | None = None) -> Diagnosis:
        """The likely cause of the end of the server, or of its slowness while it runs."""
        return diagnose(self._end(), exit_code)

    def refused_adapter(self, adapters: Sequence[str]) -> str | None:
        """The adapter at which the server ended while it loaded `adapters`, None for another end.

        vLLM loads them in their order and says each that it has loaded.
        """
        text = self._end()
        if "init_static_loras" not in text:
            return None
        loaded = set(re.findall(r"Loaded new LoRA adapter: name '([^']+)'", text))
        return next((name for name in adapters if name not in loaded), None)

    def _end(self) -> str:
        try:
            with open(self.path, "rb") as log:
                log.seek(max(0, log.seek(0, os.SEEK_END) - _READ_BYTES))
                return log.read().decode("utf-8", "replace")
        except OSError:
            return ""
