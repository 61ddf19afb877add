"""VllmServer: a real vLLM server as a context manager that leaves nothing behind."""

import os
import shlex
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Self

from mm_lora.core.asking import BASE
from mm_lora.core.errors import ServerDied, ServerError, ServerTimeout
from mm_lora.inside import turns
from mm_lora.serving.server import readiness
from mm_lora.serving.server.checks import check_before_start
from mm_lora.serving.server.command import HOST, build_command, build_environment
from mm_lora.serving.server.cradle import Cradles
from mm_lora.serving.server.diagnose import describe_exit
from mm_lora.serving.server.group import ProcessGroup
from mm_lora.serving.server.inside_folder import write_config, write_plugin_folder
from mm_lora.serving.server.log import ServerLog
from mm_lora.serving.server.port import PortReservation
from mm_lora.serving.server.spec import ServerSpec

_TURN_S = 0.1
_PORT_ATTEMPTS = 3


class VllmServer:
    """One server of one spec, run by `python` in `folder`; may be stopped from any thread.

    `adapters` names the folder of each adapter of the spec. `repository`: the name of a downloaded
    model, which vLLM is told in place of its folder `checkpoint`. `port` None takes a free one.
    Times are in seconds. `search`: folders in front of PYTHONPATH. `keep` leaves the server running
    when the harness ends, for a post-mortem. `cradles`: what later servers are forked from.
    """

    def __init__(
        self,
        spec: ServerSpec,
        *,
        python: Path,
        checkpoint: Path,
        adapters: Mapping[str, Path],
        folder: Path,
        repository: str = "",
        ready_timeout_s: float,
        grace_s: float = 10,
        port: int | None = None,
        say: Callable[[str], None] | None = None,
        keep: bool = False,
        search: Sequence[Path] = (),
        cradles: Cradles | None = None,
    ) -> None:
        self.spec = spec
        self.folder = folder.absolute()
        self.log = self.folder / "server.log"
        self._server_log = ServerLog(self.log)
        self.command: list[str] = []
        self.environment: dict[str, str] = {}
        self.ready_s: float | None = None
        self.port = port or 0
        self._python = Path(os.path.abspath(python))  # a venv's python is a link: do not resolve
        self._checkpoint = checkpoint.absolute()
        self._repository = repository
        self._adapters = {name: path.absolute() for name, path in adapters.items()}
        self._wanted_port = port
        self._ready_timeout_s = ready_timeout_s
        self._grace_s = grace_s
        self._say = say or (lambda _: None)
        self._keep = keep
        self._search = tuple(search)
        self._cradles = cradles
        self._config = self.folder / "inside.json"
        self._group: ProcessGroup | None = None
        self._reservation: PortReservation | None = None
        self._began = 0.0
        self._stopped = False
        self._lock = threading.Lock()

    def judging(self, check_id: str) -> None:
        """Tell the patches that act in some checks only which one is judged; "" for none."""
        self.folder.mkdir(parents=True, exist_ok=True)
        fresh = self.folder / f".{turns.FILE}"
        fresh.write_text(check_id, encoding="utf-8")
        os.replace(fresh, self.folder / turns.FILE)

    @property
    def base_url(self) -> str:
        """Without the `/v1`."""
        return f"http://{HOST}:{self.port}"

    @property
    def pid(self) -> int | None:
        """The API server's pid: also its group and its session. None before it is known."""
        return self._group.pid if self._group else None

    @property
    def processes(self) -> list[dict[str, Any]]:
        """What each vLLM process reports about itself, read afresh: role, pid, patches."""
        return readiness.read_reports(self.folder / "processes")

    @property
    def patches(self) -> list[dict[str, Any]]:
        """One row per patch id: where it is applied by role, and its state in the worst process."""
        return readiness.patch_rows(self.processes)

    @property
    def start_mode(self) -> str:
        """`fast` or `plain`: how it really started."""
        return readiness.start_mode(self.processes)

    def start(self) -> None:
        """Launch and return at once. UsageError for a path or port that is wrong."""
        check_before_start(self.spec, self._python, self._checkpoint, self._adapters)
        self._launch()

    def wait_ready(self) -> None:
        """Return once the server lists the base and every adapter, and its patches are in.

        ServerDied, ServerTimeout, or PatchError; the server is not stopped by them.
        """
        deadline = time.monotonic() + self._ready_timeout_s
        attempts = 1
        while True:
            try:
                self.poll()
            except ServerDied:
                readiness.check_errors(self.processes)  # a failed patch is the better reason
                if not self._port_was_taken() or attempts == _PORT_ATTEMPTS:
                    raise
                attempts += 1
                self._say(f"port {self.port} was taken meanwhile, trying another")
                self._launch()
            readiness.check_errors(self.processes)
            if self._all_served():
                break
            if time.monotonic() > deadline:
                raise self._timed_out()
            time.sleep(_TURN_S)
        readiness.check_reports(self.spec, self.processes)
        self.poll()
        self.ready_s = time.monotonic() - self._began
        if self._group:
            self._group.note_shared_memory()
        self._release_port()

    def poll(self) -> None:
        """Raise ServerDied if the API server's process has ended."""
        if self._stopped or self._group is None:
            raise ServerDied("the server is not running: it was stopped or never started")
        exit_code = self._group.poll()
        if exit_code is None:
            return
        found = self._server_log.diagnosis(exit_code)
        adapter = None
        when = "while serving"
        if self.ready_s is None:
            when = "while starting"
            if found.by_signal is None:
                adapter = self._server_log.refused_adapter(self.spec.adapters)
            if adapter is not None:
                when = f"while loading the adapter '{adapter}'"
        raise ServerDied(
            f"the server ended by itself {when}, {describe_exit(exit_code)}: {found.cause}",
            f"{found.check} (log: {self.log})",
            self.log_tail(),
            found.by_signal,
            adapter,
            starting=self.ready_s is None,
        )

    def stop(self) -> None:
        """SIGTERM, then after the grace time SIGKILL to all that is left; again is no error."""
        with self._lock:
            self._stopped = True
            self._clear()

    def log_tail(self) -> str:
        """The last lines of the log that a healthy server would not have."""
        return self._server_log.tail()

    def __enter__(self) -> Self:
        try:
            self.start()
            self.wait_ready()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *error: object) -> None:
        self.stop()

    def _launch(self) -> None:
        with self._lock:
            if self._stopped:
                raise ServerError("the server was stopped before it was launched")
            self._clear()
            try:
                self._run()
            except OSError as error:
                self._clear()
                raise ServerError(
                    f"the server could not be launched: {error}",
                    f"that {self.folder} is writable and the disk has room, and that "
                    f"{self._python} can be run",
                ) from error

    def _run(self) -> None:
        self._reservation = PortReservation(self._wanted_port)
        self.port = self._reservation.port
        reports = self.folder / "processes"
        reports.mkdir(parents=True, exist_ok=True)
        for stale in reports.iterdir():
            stale.unlink()
        plugin = write_plugin_folder(self.folder / "plugin")
        probe = {"folder": str(self.folder / "probe")} if self.spec.probe else None
        config = {"patches": self.spec.patches, "probe": probe, "start": self.spec.start}
        write_config(self._config, config)
        self.command = build_command(
            self.spec,
            python=self._python,
            checkpoint=self._repository or self._checkpoint,
            adapters=self._adapters,
            port=self.port,
            fast=self.spec.start != "plain",
        )
        self._group = ProcessGroup(self._config, self._keep, self._cradles)
        self.environment = build_environment(
            self.spec,
            caller=os.environ,
            plugin_folder=plugin,
            config=self._config,
            working_folder=Path.cwd(),
            temporary=self._group.temporary,
            search=self._search,
        )
        changes = " ".join(f"{key}={shlex.quote(v)}" for key, v in self.environment.items())
        line = f"{changes} {shlex.join(self.command)}\n"  # too long to be said
        (self.folder / "command.txt").write_text(line, encoding="utf-8")
        for _, value in self.spec.env:
            if value.startswith("./"):  # it runs in its own folder
                (self.folder / value).mkdir(exist_ok=True)
        self._began = time.monotonic()
        self._group.run(self.command, self.environment, self.log)

    def _clear(self) -> None:
        """End what runs and give back what is held; the group stays, to tell its pid."""
        self._release_port()
        if self._group:
            left = self._group.end(self._grace_s)
            if left:
                self._say(f"could not end processes {sorted(left)} of the server")

    def _release_port(self) -> None:
        if self._reservation:
            self._reservation.release()

    def _all_served(self) -> bool:
        models = readiness.served_models(self.port)
        if models is None:
            return False
        missing = {BASE, *self.spec.adapters} - set(models)
        if missing:
            raise ServerError(
                f"the server is up but does not list {', '.join(sorted(missing))}",
                f"how it loaded its adapters, in {self.log}",
                self.log_tail(),
            )
        return True

    def _port_was_taken(self) -> bool:
        return self._wanted_port is None and self._server_log.diagnosis().kind == "port-taken"

    def _timed_out(self) -> ServerError:
        found = self._server_log.diagnosis()
        hint = f"; its log says: {found.cause}" if found.kind != "unknown" else ""
        return ServerTimeout(
            f"the server runs but was not ready after {self._ready_timeout_s:g} s{hint}",
            f"the log {self.log}, the machine's load, and the profile's ready_timeout_s",
            self.log_tail(),
        )
