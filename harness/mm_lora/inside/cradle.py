"""Imports vLLM once for all servers of a run: each of them is this process, forked.

`python -m mm_lora_inside.cradle DESCRIPTOR` reads requests from that socket (SOCK_SEQPACKET, JSON
each): `{"number", "command", "environment", "folder", "log"}` starts a server, or another module of
ours that needs vLLM, with one descriptor for a server's watchdog beside it or none;
`{"number", "cancel": true}` ends one that nobody can name yet. It answers `{"number", "pid"}`, and
`{"number", "code"}` when that process has ended, negative for a signal. It ends when the other end
is closed.
"""

import contextlib
import gc
import importlib
import json
import os
import runpy
import select
import signal
import socket
import sys
import tempfile
from typing import Any

from . import fast_start, watchdog

_SERVER = f"{__package__}.fast_start"
_LONGEST = 1 << 18  # more than Linux lets a socket send at once


def main() -> None:
    """Serve requests until the other end is gone; in a forked child: be what was asked for."""
    count = os.environ.pop(fast_start.BOOT, None)
    if count is None:
        plain = fast_start.obstacle(())
        if not plain:
            fast_start.boot_again()
    else:
        fast_start.give_threads(os.environ, json.loads(count))
        plain = fast_start.import_common()
        if not plain:
            fast_start.import_rest()
            gc.freeze()
    cradle = Cradle(socket.socket(fileno=int(sys.argv[1])), plain)
    module = cradle.serve()
    if module == _SERVER:
        fast_start.fork_children(lambda: None)
        module = fast_start.API_SERVER
    if module:
        fast_start.allow_threads()
        gc.enable()
        runpy.run_module(module, run_name="__main__")


class Cradle:
    """The one process that forks servers. `plain`: why it cannot, so that each starts anew."""

    def __init__(self, line: socket.socket, plain: str) -> None:
        self._line = line
        self._plain = plain
        self._waiting: dict[int, tuple[dict[str, Any], int | None]] = {}
        self._pids: dict[int, int] = {}
        self._numbers: dict[int, int] = {}  # of each server's pidfd

    def serve(self) -> str:
        """Answer requests until the other end is closed; in a child: the module that it runs."""
        while True:
            # All that was said meanwhile is read first: a start may have been cancelled.
            patience = 0 if self._waiting else None
            line = self._line.fileno()
            ready, _, _ = select.select([line, *self._numbers], [], [], patience)
            for descriptor in ready:
                if descriptor != line:
                    self._ended(descriptor)
            if line in ready:
                message, descriptors, _, _ = socket.recv_fds(self._line, _LONGEST, 1)
                if not message:
                    return ""
                self._note(json.loads(message), next(iter(descriptors), None))
            elif self._waiting and (module := self._start(min(self._waiting))):
                return module

    def _note(self, request: dict[str, Any], alive: int | None) -> None:
        number = request["number"]
        if "cancel" not in request:
            self._waiting[number] = request, alive
        elif number in self._waiting:
            _close(self._waiting.pop(number)[1])
        elif number in self._pids:
            os.kill(self._pids[number], signal.SIGKILL)

    def _start(self, number: int) -> str:
        """Fork a process; its module in the child, nothing in the cradle."""
        request, alive = self._waiting.pop(number)
        sys.stdout.flush()
        sys.stderr.flush()
        try:
            pid = os.fork()
        except OSError as error:
            _close(alive)
            with open(request["log"], "a", encoding="utf-8") as log:
                print(f"mm-lora: no process for this server: {error}", file=log)
            self._say(number, code=1)
            return ""
        if pid == 0:
            self._line.close()
            for descriptor in self._numbers:
                os.close(descriptor)
            return _settle(request, alive, self._plain)
        _close(alive)
        self._pids[number] = pid
        self._numbers[os.pidfd_open(pid)] = number
        self._say(number, pid=pid)
        return ""

    def _ended(self, descriptor: int) -> None:
        number = self._numbers.pop(descriptor)
        os.close(descriptor)
        _, status = os.waitpid(self._pids.pop(number), 0)
        self._say(number, code=os.waitstatus_to_exitcode(status))

    def _say(self, number: int, **told: int) -> None:
        with contextlib.suppress(OSError):  # nobody is there any more: the next read tells
            self._line.send(json.dumps({"number": number, **told}).encode())


def _close(descriptor: int | None) -> None:
    if descriptor is not None:
        os.close(descriptor)


def _settle(request: dict[str, Any], alive: int | None, plain: str) -> str:
    """In the child: the session, folder, output, environment and arguments of a fresh process.

    Returns the module that it is to run.
    """
    os.setsid()
    os.chdir(request["folder"])
    _redirect(request["log"])
    environment: dict[str, str] = request["environment"]
    if alive is not None:
        os.set_inheritable(alive, True)
        environment[watchdog.ALIVE_VARIABLE] = f"{alive}:{os.fstat(alive).st_ino}"
    command: list[str] = request["command"]
    place = command.index("-m") + 1
    module, arguments = command[place], command[place + 1 :]
    if plain or fast_start.obstacle(arguments):
        os.execve(command[0], command, environment)  # it will say why it starts plain
    preloaded = os.environ.get("LD_PRELOAD")
    os.environ.clear()
    os.environ.update(environment)
    if preloaded is not None:
        os.environ["LD_PRELOAD"] = preloaded  # as it is in effect
    sys.argv[1:] = arguments
    tempfile.tempdir = None  # TMPDIR is another
    _settle_modules_cache()
    return module


def _redirect(log: str) -> None:
    """Nothing to read, and all that is written goes to the log."""
    sources = (os.open(os.devnull, os.O_RDONLY), os.open(log, os.O_WRONLY | os.O_APPEND))
    for source, target in zip((*sources, sources[1]), range(3), strict=True):
        os.dup2(source, target)
    for source in sources:
        os.close(source)


def _settle_modules_cache() -> None:
    """transformers reads HF_MODULES_CACHE when it is imported, here for another server."""
    folder = os.environ["HF_MODULES_CACHE"]
    for name, module in list(sys.modules.items()):
        names = getattr(module, "__dict__", {}) if name.startswith("transformers") else {}
        if "HF_MODULES_CACHE" in names:
            names["HF_MODULES_CACHE"] = folder


if __name__ == "__main__":
    # As the module that others import, so that there is one `mode`.
    importlib.import_module(f"{__package__}.cradle").main()
