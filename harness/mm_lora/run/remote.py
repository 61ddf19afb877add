"""Judges a server that is already running instead of starting one: `--base-url`."""

import contextlib
from collections.abc import Iterable
from pathlib import Path

from mm_lora.core.errors import MmLoraError
from mm_lora.core.record import ServerRecord
from mm_lora.run.builds import Builds
from mm_lora.serving.client import Client
from mm_lora.serving.pool import ServerPool, Started
from mm_lora.serving.remote_adapters import RemoteAdapters
from mm_lora.serving.server.remote import RemoteServer, api_key, root_of
from mm_lora.serving.server.spec import ServerSpec


class Remote:
    """The server of --base-url, with what the run loads on it; `close` unloads that."""

    def __init__(self, builds: Builds) -> None:
        self._builds = builds
        self._adapters: list[RemoteAdapters] = []
        self.server = RemoteServer(root_of(builds.inputs.options.base_url), api_key())

    def attach(self, pool: ServerPool, specs: Iterable[ServerSpec]) -> None:
        """Let it stand for each spec, with the adapters that it has or takes."""
        for spec in specs:

            def folders(names: tuple[str, ...], model: str = spec.model) -> dict[str, Path]:
                return self._builds.folders(model, names)

            timeout_s = self._builds.inputs.profile.request_timeout_s
            client = Client(self.server.base_url, timeout_s, api_key())
            adapters = RemoteAdapters(client, self.server.adapters, folders)
            self._adapters.append(adapters)
            adapters.want(spec.adapters)
            record = ServerRecord(spec=spec.as_json(), label=f"remote {self.server.base_url}")
            record.refused_adapters = dict(adapters.absent)
            started = Started(
                self.server, client, record, absent=adapters.absent, base=self.server.base
            )
            pool.add(spec, started)

    def close(self) -> None:
        """Take back what was loaded."""
        for adapters in self._adapters:
            with contextlib.suppress(MmLoraError):
                adapters.close()
