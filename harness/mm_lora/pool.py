"""The servers of a run: each spec started once, in the background, stopped after its last check."""

import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path

from mm_lora.client import Client
from mm_lora.errors import MmLoraError, ServerDied, ServerError, TroubleError
from mm_lora.record import ServerRecord
from mm_lora.server import readiness
from mm_lora.server.process import VllmServer
from mm_lora.server.spec import ServerSpec

_ENDING_S = 60.0
Prepare = Callable[[ServerSpec], tuple[Path, Mapping[str, Path]]]


@dataclass
class Started:
    """One running server and the client that talks to it."""

    server: VllmServer
    client: Client
    record: ServerRecord


class ServerPool:
    """Starts servers ahead of their first check and keeps the record of each for the report.

    `prepare` builds the checkpoint and the adapters of a spec and returns their folders.
    """

    def __init__(
        self,
        prepare: Prepare,
        *,
        python: Path,
        folder: Path,
        ready_timeout_s: float,
        request_timeout_s: float,
        say: Callable[[str], None],
        port: int | None = None,
    ) -> None:
        self._prepare = prepare
        self._python = python
        self._folder = folder
        self._ready_timeout_s = ready_timeout_s
        self._request_timeout_s = request_timeout_s
        self._say = say
        self._port = port
        self._lock = threading.Lock()
        self._futures: dict[ServerSpec, Future[Started]] = {}
        self._running: list[VllmServer] = []
        self._stopping: list[threading.Thread] = []
        self._closed = False
        self.records: list[ServerRecord] = []

    def prefetch(self, spec: ServerSpec) -> None:
        """Begin to start a server; returns at once."""
        with self._lock:
            if self._closed or spec in self._futures:
                return
            future: Future[Started] = Future()
            self._futures[spec] = future
        thread = threading.Thread(
            target=self._fill, args=(future, spec), name=f"start {spec.label}", daemon=True
        )
        thread.start()

    def get(self, spec: ServerSpec) -> Started:
        """The running server of a spec; waits for it. Raises what its start raised, every time."""
        self.prefetch(spec)
        future = self._futures[spec]
        while True:  # short waits, so that Ctrl-C is seen by the main thread
            try:
                return future.result(timeout=0.5)
            except TimeoutError:
                if future.done():
                    raise

    def is_ready(self, spec: ServerSpec) -> bool:
        """Whether `get` would return at once with a running server."""
        future = self._futures.get(spec)
        return future is not None and future.done() and future.exception() is None

    def again(self, spec: ServerSpec) -> Started:
        """A fresh server of the same spec in place of one that died."""
        self.release(spec)
        return self.get(spec)

    def give_up(self, spec: ServerSpec, error: MmLoraError) -> None:
        """Each later `get` of this spec raises `error`: no endless restarts of a killed server."""
        self.release(spec)
        future: Future[Started] = Future()
        future.set_exception(error)
        with self._lock:
            self._futures[spec] = future

    def release(self, spec: ServerSpec) -> None:
        """Stop the server of a spec in the background; a later `get` starts a fresh one."""
        with self._lock:
            future = self._futures.pop(spec, None)
        if future is None or not future.done() or future.exception() is not None:
            return
        started = future.result()
        thread = threading.Thread(target=self._stop, args=(started,), name="stop server")
        thread.start()
        self._stopping.append(thread)

    def close(self) -> None:
        """Stop everything, a start that is under way included; returns when nothing is left."""
        with self._lock:
            self._closed = True
            futures = list(self._futures.items())
        for spec, future in futures:
            if future.done():
                self.release(spec)
        with self._lock:
            running = list(self._running)
        for server in running:
            server.stop()
        for thread in self._stopping:
            thread.join()

    def _fill(self, future: "Future[Started]", spec: ServerSpec) -> None:
        try:
            future.set_result(self._start(spec))
        except MmLoraError as error:
            future.set_exception(error)
        except BaseException as error:
            trouble = TroubleError(f"{type(error).__name__} while starting {spec.label}: {error}")
            trouble.__cause__ = error
            future.set_exception(trouble)

    def _start(self, spec: ServerSpec) -> Started:
        checkpoint, adapters = self._prepare(spec)
        with self._lock:
            number = len(self.records) + 1
            record = ServerRecord(spec=spec.as_json(), label=f"{number}-{spec.label}")
            self.records.append(record)
        folder = self._folder / "servers" / record.label
        server = VllmServer(
            spec,
            python=self._python,
            checkpoint=checkpoint,
            adapters=adapters,
            folder=folder,
            ready_timeout_s=self._ready_timeout_s,
            port=self._port,
            say=self._say,
        )
        record.log = str(Path("servers") / record.label / server.log.name)
        with self._lock:
            if self._closed:
                raise ServerError("the run ended before this server was started")
            self._running.append(server)
        began = time.monotonic()
        self._say(f"starting vLLM for {spec.label}, {len(adapters)} adapters")
        try:
            server.start()
            record.command, record.environment = server.command, server.environment
            server.wait_ready()
        except BaseException:
            server.stop()
            raise
        record.ready_s = round(server.ready_s or time.monotonic() - began, 2)
        record.command, record.patches = server.command, server.patches
        record.start = server.start_mode
        self._say(f"vLLM for {spec.label} is ready after {record.ready_s:.1f} s")
        return Started(server, Client(server.base_url, self._request_timeout_s), record)

    def _stop(self, started: Started) -> None:
        started.client.close()
        started.server.stop()
        with self._lock:
            if started.server in self._running:
                self._running.remove(started.server)


def died_by_itself(started: Started, *, patience_s: float = 5.0) -> ServerDied | None:
    """The server's death as an error, None while it lives; waits, since clients see it first.

    A healthy server is believed after `patience_s` seconds; one that says that its engine is dead
    is given the time to end.
    """
    began = time.monotonic()
    while True:
        try:
            started.server.poll()
        except ServerDied as error:
            return error
        waited = time.monotonic() - began
        health = readiness.get(started.server.port, "/health")
        if waited > _ENDING_S or (health and health[0] == 200 and waited >= patience_s):
            return None
        time.sleep(0.25)
