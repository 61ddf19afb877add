"""A stand-in for vLLM's API server: answers /health and /v1/models, and misbehaves on demand.

Run in the place of an interpreter: `stub_server.py -m MODULE --port N …`. STUB names what to do.
"""

import json
import os
import signal
import subprocess
import sys
import time
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

WANTED = os.environ.get("STUB", "").split(",")
FOLDER = Path(os.environ["MM_LORA_INSIDE"]).parent


def value(flag: str) -> str:
    """The word after a flag."""
    return sys.argv[sys.argv.index(flag) + 1]


class Handler(BaseHTTPRequestHandler):
    """Health at once, and the models that the command line names."""

    def do_GET(self) -> None:  # the base class's name
        names = [value("--served-model-name")]
        if "--lora-modules" in sys.argv and "no-adapters" not in WANTED:
            names += [word.partition("=")[0] for word in self._lora_words()]
        body = json.dumps({"data": [{"id": name} for name in names]}).encode()
        self.send_response(200)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Quiet."""

    @staticmethod
    def _lora_words() -> list[str]:
        return sys.argv[sys.argv.index("--lora-modules") + 1 :]


def report(role: str, pid: int) -> None:
    """As the plugin writes it."""
    content = {
        "role": role,
        "pid": pid,
        "vllm": "0.32.0",
        "platform": "cpu",
        "holds_worker": role == "worker",
        "patches": [],
    }
    folder = FOLDER / "processes"
    folder.mkdir(exist_ok=True)
    (folder / f"{role}-{pid}.json").write_text(json.dumps(content))


def main() -> None:
    """Behave as told."""
    if "port-taken-once" in WANTED and not (FOLDER / "tried").exists():
        (FOLDER / "tried").touch()
        sys.exit("OSError: [Errno 98] error while attempting to bind: address already in use")
    if "die" in WANTED:
        sys.exit("ValueError: the cause")
    if "killed" in WANTED:
        os.kill(os.getpid(), signal.SIGKILL)
    if "deaf" in WANTED:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    if "never-ready" in WANTED:
        time.sleep(1000)
    child = [sys.executable, "-c", "import time; time.sleep(1000)"]
    subprocess.Popen(child)
    # One that left the session, as a double fork would.
    subprocess.Popen(child, start_new_session=True)
    for role in ("api-server", "engine-core", "worker"):
        if f"no-{role}" not in WANTED:
            report(role, os.getpid())
    HTTPServer(("127.0.0.1", int(value("--port"))), Handler).serve_forever()


main()
