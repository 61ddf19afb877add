"""The servers of a run: each spec started once, in the background, stopped after its last check."""

import contextlib
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field, replace
from pathlib import Path

from mm_lora.core.asking import BASE
from mm_lora.core.errors import MmLoraError, ServerDied, ServerError, TroubleError
from mm_lora.core.record import ServerRecord
from mm_lora.core.timings import Timings
from mm_lora.serving import late_adapters
from mm_lora.serving.client import Client
from mm_lora.serving.hook_client import Launch, alone
from mm_lora.serving.metrics import read_metrics
from mm_lora.serving.prepared import Prepared
from mm_lora.serving.server.cradle import Cradles
from mm_lora.serving.server.process import VllmServer
from mm_lora.serving.server.remote import RemoteServer
from mm_lora.serving.server.shared_import import begin_import, beside
from mm_lora.serving.server.spec import ServerSpec

OWN_TIME = "vllm:e2e_request_latency_seconds"

_END_S = 60.0
"""How long a server with a dead engine may take to end, on a busy machine."""


Prepare = Callable[[ServerSpec], Prepared]


@dataclass
class Started:
    """One running server and the client that talks to it.

    `refused`: the adapters that vLLM would not load, each with the end of a server that was to.
    `absent`: those that a remote server has not, with the reason. `base`: the base model's name.
    """

    server: VllmServer | RemoteServer
    client: Client
    record: ServerRecord
    refused: Mapping[str, ServerDied] = field(default_factory=dict)
    absent: Mapping[str, str] = field(default_factory=dict)
    base: str = BASE


class ServerPool:
    """Starts servers ahead of their first check and keeps the record of each for the report.

    `prepare` fits a spec to this vLLM and builds its checkpoint and adapters. `alone`: one server
    fills the GPUs, so that the next one is started when the last one has ended.
    """

    def __init__(
        self,
        prepare: Prepare,
        *,
        folder: Path,
        request_timeout_s: float,
        say: Callable[[str], None],
        timings: Timings,
        alone: bool = False,
        client: Callable[[str, float], Client] = Client,
    ) -> None:
        self._prepare = prepare
        self._client = client
        self._alone = alone
        self._folder = folder
        self._request_timeout_s = request_timeout_s
        self._say = say
        self._timings = timings
        self._lock = threading.Lock()
        self._cradles = Cradles()
        self._futures: dict[ServerSpec, Future[Started]] = {}
        self._running: list[VllmServer] = []
        self._stopping: list[threading.Thread] = []
        self._refused: dict[ServerSpec, Mapping[str, ServerDied]] = {}
        self._closed = False
        self.judged = ""
        self.records: list[ServerRecord] = []

    def prefetch(self, spec: ServerSpec, *, ahead: bool = True) -> None:
        """Begin to start a server; returns at once. Where each must be alone, not `ahead`."""
        with self._lock:
            if self._closed or spec in self._futures or (self._alone and self._futures and ahead):
                return
            future: Future[Started] = Future()
            self._futures[spec] = future
        thread = threading.Thread(
            target=self._fill, args=(future, spec), name=f"start {spec.label}", daemon=True
        )
        thread.start()

    def begin_import(self, spec: ServerSpec, python: Path, search: Sequence[Path] = ()) -> None:
        """Begin to import vLLM for the first server, before its files are built. `search`: folders
        in front of PYTHONPATH."""
        if spec.start != "plain":
            begin_import(spec, python, search, self._folder / "servers" / "import", self._cradles)

    def launch(self, search: Sequence[Path] = ()) -> Launch:
        """How to start a question to a model class: as a fork of what the first server that was
        begun is forked from, else alone. `search`: folders in front of PYTHONPATH."""
        with self._lock:
            spec = next(iter(self._futures), None)
        if spec is None or spec.start == "plain":
            return alone(search)
        return beside(spec, search, self._cradles)

    def judging(self, check_id: str) -> None:
        """Tell every server that is ready, and each that will be, which check is judged; or ""."""
        with self._lock:
            self.judged = check_id
            ready = [f.result() for f in self._futures.values() if f.done() and not f.exception()]
        for started in ready:
            if isinstance(started.server, VllmServer):
                started.server.judging(check_id)

    def add(self, spec: ServerSpec, started: Started) -> None:
        """A server that is running already."""
        future: Future[Started] = Future()
        future.set_result(started)
        with self._lock:
            self._futures[spec] = future
            self.records.append(started.record)

    def get(self, spec: ServerSpec) -> Started:
        """The running server of a spec; waits for it. Raises what its start raised, every time."""
        self.prefetch(spec, ahead=False)
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

    def restart(self, spec: ServerSpec) -> Started:
        """A fresh server, prepared anew, once the old one has given back its port and memory."""
        self.release(spec)
        for thread in list(self._stopping):
            thread.join()
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
        self._cradles.close()

    def _fill(self, future: "Future[Started]", spec: ServerSpec) -> None:
        try:
            future.set_result(self._start(spec))
        except MmLoraError as error:
            future.set_exception(error)
        except BaseException as error:
            trouble = TroubleError(f"{type(error).__name__} while starting {spec.label}: {error}")
            trouble.__cause__ = error
            future.set_exception(trouble)

    def _wait_for_room(self) -> None:
        while self._alone and self._stopping:
            self._stopping.pop().join()

    def _start(self, spec: ServerSpec) -> Started:
        """Start it; where vLLM ends over an adapter, once more without that one.

        Those behind it in the order are loaded over HTTP then, where a refusal ends nothing. A
        later server of the spec leaves out what the first one refused.
        """
        self._wait_for_room()
        prepared = self._prepare(spec)
        refused = dict(self._refused.get(spec, {}))
        late: tuple[str, ...] = ()
        over_http = late_adapters.can_load(spec)
        while True:
            left_out = {*refused, *late}
            names = tuple(name for name in spec.adapters if name not in left_out)
            fit = replace(prepared, spec=replace(prepared.spec, adapters=names))
            try:
                started = self._start_once(fit, refused)
            except ServerDied as error:
                if error.adapter is None:
                    raise
                refused[error.adapter] = error
                self._say(f"vLLM does not start with {error.adapter}; starting without it")
                if over_http:
                    late = names[names.index(error.adapter) + 1 :]
                continue
            try:
                found = late_adapters.load_late(started.client, prepared.adapters, late)
            except ServerError as error:
                self._say(f"the server died of a load over HTTP, so each by a start: {error.what}")
                self._stop(started)
                late, over_http = (), False
                continue
            refused |= found
            self._refused[spec] = refused
            started.record.refused_adapters = {one: end.what for one, end in refused.items()}
            return replace(started, refused=refused)

    def _start_once(self, prepared: Prepared, refused: Mapping[str, ServerDied]) -> Started:
        spec = prepared.spec
        with self._lock:
            number = len(self.records) + 1
            record = ServerRecord(spec=spec.as_json(), label=f"{number}-{spec.label}")
            self.records.append(record)
        record.refused_adapters = {name: error.what for name, error in refused.items()}
        folder = self._folder / "servers" / record.label
        server = prepared.server(folder, self._say, self._cradles)
        record.log = str(Path("servers") / record.label / server.log.name)
        with self._lock:
            if self._closed:
                raise ServerError("the run ended before this server was started")
            self._running.append(server)
        began = time.monotonic()
        self._say(f"starting vLLM for {spec.label}")
        try:
            with self._timings.of("start server", record.label):
                server.start()
                record.command, record.environment = server.command, server.environment
                server.wait_ready()
        except BaseException:
            server.stop()
            raise
        record.ready_s = round(server.ready_s or time.monotonic() - began, 2)
        record.command, record.patches = server.command, server.patches
        record.start = server.start_mode
        if self.judged:
            server.judging(self.judged)
        self._say(f"vLLM for {spec.label} is ready after {record.ready_s:.1f} s")
        client = self._client(server.base_url, self._request_timeout_s)
        return Started(server, client, record)

    def _stop(self, started: Started) -> None:
        if isinstance(started.server, VllmServer):
            own = own_time(started.client)
            self._timings.add("the server's own time", started.record.label, *own)
        started.client.close()
        with self._timings.of("stop server", started.record.label):
            started.server.stop()
        with self._lock:
            self._running = [one for one in self._running if one is not started.server]


def own_time(client: Client) -> tuple[float, int]:
    """From a request's arrival to the end of its answer, by the server's own clock: the sum in
    seconds, and of how many requests; zeros where it does not say."""
    with contextlib.suppress(MmLoraError):
        status, text = client.get("/metrics")
        found = read_metrics(text if status == 200 else "")
        return found.total(f"{OWN_TIME}_sum"), int(found.total(f"{OWN_TIME}_count"))
    return 0.0, 0


def died_by_itself(started: Started, patience_s: float = 5.0) -> ServerDied | None:
    """The server's death as an error, None while it lives; waits, since clients see it first.

    `patience_s`: how long a server that says it is well may yet turn out to be dying. One whose
    engine is dead says that it is not, and is given the time to end.
    """
    began = time.monotonic()
    while time.monotonic() - began < _END_S:
        try:
            started.server.poll()
        except ServerDied as error:
            return error
        if time.monotonic() - began >= patience_s and started.client.is_healthy():
            return None
        time.sleep(0.25)
    return None
