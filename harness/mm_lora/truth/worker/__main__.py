"""The worker's loop: one JSON job per line on stdin, one JSON answer per line on stdout."""

import json
import os
import sys
import traceback
from typing import Any, TextIO

from mm_lora.truth.worker.jobs import JOBS, load


def main() -> None:
    """Serve jobs until stdin ends. stdout is kept for answers: whatever prints goes to stderr."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    sys.stdout = sys.stderr
    for line in sys.stdin:
        if line.strip():
            _put(answers, _answer(json.loads(line)))


def _answer(job: dict[str, Any]) -> dict[str, Any]:
    job_id, kind = job.pop("id"), job.pop("kind")
    if kind not in JOBS:
        return {"id": job_id, "ok": False, "error": f"no job '{kind}' in this worker"}
    try:
        return {"id": job_id, "ok": True, **load(kind)(**job)}
    except Exception as error:
        traceback.print_exc()
        return {"id": job_id, "ok": False, "error": f"{type(error).__name__}: {error}"}


def _put(answers: TextIO, answer: dict[str, Any]) -> None:
    answers.write(json.dumps(answer) + "\n")
    answers.flush()


if __name__ == "__main__":
    main()
