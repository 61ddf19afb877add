"""A server with so few slots that adapters must make room for each other."""

import pytest

from mm_lora.checks.roles import first_connector

RESOLVED = "./resolver"
"""In the server's own folder; vLLM's filesystem resolver looks up unknown names there."""

SMALL = pytest.mark.server(
    adapters=first_connector,
    flags={"max-loras": 1, "max-cpu-loras": 2},
    env={
        "VLLM_PLUGINS": "lora_filesystem_resolver",
        "VLLM_LORA_RESOLVER_CACHE_DIR": RESOLVED,
    },
)
