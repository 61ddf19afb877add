"""Reads a dead server's log: the likely cause, and what to check."""

import re
import signal
from dataclasses import dataclass

from mm_lora.serving.server.causes import CAUSES, Cause


@dataclass(frozen=True)
class Diagnosis:
    """A likely `cause` and what to `check`; `kind` is a stable name for tests and decisions.

    `by_signal` is the signal that ended the API server, the engine core or a worker, if one did.
    """

    kind: str
    cause: str
    check: str
    by_signal: int | None = None


_READY = "Application startup complete"
_ESCAPES = re.compile(r"\x1b\[[0-9;]*m")
# What a healthy server says too, and what interpreters say while they end.
_CHATTER = re.compile(
    r"^(?:\([^)]*\) )?(?:INFO|WARNING|DEBUG)\b"
    r"|^nanobind: |^ - (?:leaked|\.\.\. skipped)|^See https://nanobind"
    r"|UserWarning: resource_tracker: |^\s+warnings\.warn\("
    r"|^Triton is installed, but|^\[transformers\] "
)
_LAST_ERROR = re.compile(
    r"^[^\n]*?\b((?:\w+\.)*\w*(?:Error|Exception|Interrupt|Exit): [^\n]+)", re.MULTILINE
)
# Exceptions that only say that another process is dead.
_SYMPTOMS = (
    "Engine core initialization failed",
    "WorkerProc initialization failed",
    "EngineDeadError",
    "Executor failed",
    "please check the stack trace above",
    "RuntimeError: cancelled",  # a message queue, closed by the end of its other side
)
# An exception without a message, and the line of its source above it, which Python underlines.
_BARE_ERROR = re.compile(
    r"(?:\] {5,}(?P<source>\S[^\n]*)\n(?:[^\n]*\] [ ^~]+\n)?)?"
    r"[^\n]*\] (?P<error>\w+(?:Error|Exception|Iteration))$",
    re.MULTILINE,
)
_WORKER_DIED = re.compile(r"Worker proc \S+ died unexpectedly \(exit code: -(\d+)\)")
# vLLM's monitor wakes when the worker's pipe closes. On a busy machine that is before the kernel
# has the exit code, and it logs None (multiproc_executor.py, `monitor_workers`).
_WORKER_GONE = re.compile(r"Worker proc \S+ died unexpectedly \(exit code: None\)")
_ENGINE_DIED = re.compile(
    r"EngineDeadError|Engine core initialization failed|[Ee]ngine core \S* ?(?:died|exited)"
)


def trouble(log: str) -> str:
    """The log without escape sequences and without the lines of a healthy server."""
    lines = _ESCAPES.sub("", log).splitlines()
    return "\n".join(line for line in lines if not _CHATTER.search(line))


def diagnose(log: str, exit_code: int | None) -> Diagnosis:
    """From the end of the log and the exit code (negative: minus the signal, None: still runs)."""
    text = trouble(log)
    for entry in CAUSES:
        found = re.search(entry.pattern, text, re.IGNORECASE)
        if found and not (entry.is_survived and _was_survived(entry, log, text)):
            detail = found[1].strip() if found.groups() and found[1] else ""
            return Diagnosis(
                entry.kind,
                entry.cause.format(detail),
                entry.check,
                _own_signal(exit_code),
            )
    if exit_code is not None and exit_code < 0:
        return _by_signal("the API server", -exit_code)
    worker = _WORKER_DIED.search(_ESCAPES.sub("", log))
    if worker:
        return _by_signal("a worker", int(worker[1]))
    errors = [found[1] for found in _errors(text)]
    errors = errors or [_with_its_source(found) for found in _BARE_ERROR.finditer(text)]
    if errors:
        return Diagnosis("error", errors[-1].strip()[:300], "the log's traceback")
    # An exception would have left a traceback: only a signal ends a process without a word.
    if _WORKER_GONE.search(text):
        return _by_signal("a worker", signal.SIGKILL)
    if _ENGINE_DIED.search(text):
        return _by_signal("the engine core", signal.SIGKILL)
    return Diagnosis("unknown", "no known cause in its log", "the log")


def _errors(text: str) -> list[re.Match[str]]:
    """The lines with an exception that is no other process's death."""
    found = _LAST_ERROR.finditer(text)
    return [line for line in found if not any(symptom in line[1] for symptom in _SYMPTOMS)]


def _was_survived(entry: Cause, log: str, text: str) -> bool:
    """Whether the server was ready, and said so before something else went wrong."""
    if _READY not in log:
        return False
    last = [found.end() for found in re.finditer(entry.pattern, text, re.IGNORECASE)][-1]
    return any(
        line.start() > last and not re.search(entry.pattern, line[0], re.IGNORECASE)
        for line in _errors(text)
    )


def describe_exit(exit_code: int) -> str:
    """`exit code 1`, or `signal 9 (SIGKILL)` for a negative one."""
    if exit_code >= 0:
        return f"exit code {exit_code}"
    return f"signal {-exit_code} ({_signal_name(-exit_code)})"


def _with_its_source(found: re.Match[str]) -> str:
    source = found["source"]
    return f"{found['error']} at `{source.strip()}`" if source else found["error"]


def _own_signal(exit_code: int | None) -> int | None:
    return -exit_code if exit_code is not None and exit_code < 0 else None


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return "unknown"


def _by_signal(who: str, number: int) -> Diagnosis:
    if number == signal.SIGKILL:
        return Diagnosis(
            "killed",
            f"{who} was killed from outside: out of memory, or by a person",
            "free memory (`dmesg` names what the kernel killed)",
            number,
        )
    if number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        return Diagnosis(
            "ended",
            f"{who} was told to end from outside",
            "who sends signals to this process",
            number,
        )
    return Diagnosis(
        "crashed",
        f"{who} crashed in compiled code, {_signal_name(number)}",
        "that vLLM's build fits this CPU: `mm-lora doctor`",
        number,
    )
