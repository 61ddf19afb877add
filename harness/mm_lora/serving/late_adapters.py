"""Loads over HTTP what a server was to load at its start, where one of them had ended it.

vLLM ends at the first adapter that it refuses then, so that each refusal would cost a start.
"""

from collections.abc import Iterable, Mapping
from pathlib import Path

from mm_lora.core.errors import ServerDied
from mm_lora.serving.client import Client
from mm_lora.serving.remote_adapters import LOAD
from mm_lora.serving.server.spec import ServerSpec

ALLOWED = ("VLLM_ALLOW_RUNTIME_LORA_UPDATING", "True")

_RECEIVED, _BEFORE, _LONGEST = "received [", 200, 1500


def can_load(spec: ServerSpec) -> bool:
    """Whether its server takes adapters over HTTP."""
    return ALLOWED in spec.env


def load_late(
    client: Client, folders: Mapping[str, Path], names: Iterable[str]
) -> dict[str, ServerDied]:
    """Load these; those that the server refuses, with its words. Raises ServerError if it dies."""
    refused = {}
    for name in names:
        body = {"lora_name": name, "lora_path": str(folders[name])}
        status, said = client.post(LOAD, body)
        if status != 200:
            what = f"HTTP {status} for {LOAD} of '{name}'"
            refused[name] = ServerDied(what, log_tail=_telling(said), adapter=name)
    return refused


def _telling(said: str) -> str:
    """The part of a long answer that says why: vLLM lists the modules that it takes, then those
    that it "received"."""
    begin = max(0, said.find(_RECEIVED) - _BEFORE) if len(said) > _LONGEST else 0
    return said[begin : begin + _LONGEST]
