"""Puts adapters on a remote server over HTTP, where it allows, and takes them off again."""

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from mm_lora.serving.client import Client

LOAD, UNLOAD = "/v1/load_lora_adapter", "/v1/unload_lora_adapter"

Folders = Callable[[tuple[str, ...]], Mapping[str, Path]]


class RemoteAdapters:
    """Which adapters one remote server has. `absent`: name → why a wished one is not there."""

    def __init__(self, client: Client, listed: Iterable[str], folders: Folders) -> None:
        self._client = client
        self._there = set(listed)
        self._folders = folders
        self._ours: list[str] = []
        self.absent: dict[str, str] = {}

    def want(self, names: Iterable[str]) -> None:
        """Load those that the server does not list. It must see the folder under the same path."""
        missing = tuple(name for name in names if name not in self._there)
        if not missing:
            return
        # A server that loads refuses a body without a name; another one knows no such path.
        status, _ = self._client.post(LOAD, {})
        if status in (404, 405):
            reason = f"not listed, and HTTP {status} for {LOAD}"
            self.absent |= dict.fromkeys(missing, reason)
            return
        for name, folder in self._folders(missing).items():
            status, said = self._client.post(LOAD, {"lora_name": name, "lora_path": str(folder)})
            if status == 200:
                self._there.add(name)
                self._ours.append(name)
            else:
                self.absent[name] = f"not listed, and loading it gives HTTP {status}: {said[:200]}"

    def close(self) -> None:
        """Unload what was loaded here."""
        while self._ours:
            self._client.post(UNLOAD, {"lora_name": self._ours.pop()})
