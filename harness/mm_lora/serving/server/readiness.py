"""Asks a server whether it is ready, and reads what its processes reported about their patches."""

import json
from pathlib import Path
from typing import Any

import httpx

from mm_lora.core.errors import PatchError
from mm_lora.serving import http
from mm_lora.serving.server.command import HOST
from mm_lora.serving.server.spec import ServerSpec

_ANSWER_S = 5.0


def get(port: int, path: str, timeout_s: float = _ANSWER_S) -> tuple[int, bytes] | None:
    """Status and body of a GET on 127.0.0.1; None if nobody answers yet."""
    try:
        response = http.request("GET", f"http://{HOST}:{port}", path, timeout_s)
    except httpx.HTTPError:
        return None
    return response.status_code, response.content


def served_models(port: int) -> list[str] | None:
    """The ids of /v1/models once /health says 200; None before."""
    health = get(port, "/health")
    if health is None or health[0] != 200:
        return None
    answer = get(port, "/v1/models")
    if answer is None or answer[0] != 200:
        return None
    try:
        return [str(entry["id"]) for entry in json.loads(answer[1])["data"]]
    except (ValueError, KeyError, TypeError):
        return None


def read_reports(folder: Path) -> list[dict[str, Any]]:
    """The reports of a server's processes, API server first; files being replaced are whole."""
    order = {"api-server": 0, "engine-core": 1, "worker": 2}
    reports = []
    for path in sorted(folder.glob("*.json")):
        try:
            reports.append(json.loads(path.read_text(encoding="utf-8")))
        except (OSError, ValueError):
            continue
    return sorted(reports, key=lambda report: order.get(report["role"], 9))


def workers_wanted(spec: ServerSpec) -> int:
    """How many worker processes the spec's flags ask for."""
    count = 1
    for flag in (
        "tensor-parallel-size",
        "pipeline-parallel-size",
        "data-parallel-size",
    ):
        count *= spec.number(flag, 1)
    return count


def check_reports(spec: ServerSpec, reports: list[dict[str, Any]]) -> None:
    """Raise PatchError for an error in a report, or for a vLLM process that did not report.

    vLLM logs and swallows a failing plugin, so that silence means an unpatched server.
    """
    check_errors(reports)
    for role in ("api-server", "engine-core"):
        if not any(report["role"] == role for report in reports):
            raise _silent(f"the {role}")
    workers = [report for report in reports if report["role"] == "worker"]
    if not workers:
        # One GPU needs no process of its own, nor does a CPU before vLLM 0.20. A fast start has the
        # worker's modules everywhere: there the engine core must have made one.
        proof = "made_worker" if start_mode(reports) == "fast" else "holds_worker"
        workers = [
            report for report in reports if report["role"] == "engine-core" and report.get(proof)
        ]
    wanted = workers_wanted(spec)
    if len(workers) < wanted:
        raise _silent(f"{wanted - len(workers)} of {wanted} workers")


def check_errors(reports: list[dict[str, Any]]) -> None:
    """Raise PatchError for the first patch, or plugin, that failed in a process."""
    for report in reports:
        where = f"{report['role']} {report['pid']} (vLLM {report['vllm']})"
        if "error" in report:
            raise PatchError(
                f"the plugin failed in the {where}: {report['error']}",
                "the server spec's patches against this vLLM's version, and the server's log",
            )
        for patch in report["patches"]:
            if patch["state"] == "error":
                raise PatchError(
                    f"patch {patch['id']} failed in the {where}: {patch['error']}",
                    "whether this vLLM still needs the patch, and where its code moved to",
                )


def _silent(who: str) -> PatchError:
    return PatchError(
        f"no report from {who}: the plugin was not loaded there, the server may run unpatched",
        "VLLM_PLUGINS, PYTHONPATH and free disk space; the server's log says why a plugin failed",
    )


def patch_rows(reports: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """One row per patch: {"id", "kind", "state", "applied_in": [roles], "error"?}.

    `state` is that of the worst process: error before applied before waiting.
    """
    rank = {"waiting": 0, "applied": 1, "error": 2}
    rows: dict[str, dict[str, Any]] = {}
    for report in reports:
        for patch in report["patches"]:
            row = rows.setdefault(
                patch["id"],
                {
                    "id": patch["id"],
                    "kind": patch["kind"],
                    "state": "waiting",
                    "applied_in": [],
                },
            )
            if rank[patch["state"]] > rank[row["state"]]:
                row["state"] = patch["state"]
            if patch["state"] == "applied" and report["role"] not in row["applied_in"]:
                row["applied_in"].append(report["role"])
            if "error" in patch:
                row["error"] = patch["error"]
    return list(rows.values())


def start_mode(reports: list[dict[str, Any]]) -> str:
    """`fast` if the API server says so; a fast start that fell back is plain."""
    return next(
        (str(r.get("start", "plain")) for r in reports if r["role"] == "api-server"),
        "plain",
    )
