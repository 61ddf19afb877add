"""A server with so few slots that adapters must make room for each other."""

import os

import pytest

from mm_lora.checks.roles import first_connector

RESOLVED = "./resolver"
"""In the server's own folder; vLLM's filesystem resolver looks up unknown names there."""


def _plugins() -> dict[str, str]:
    """vLLM loads all plugins, that resolver too, unless the caller names some."""
    named = os.environ.get("VLLM_PLUGINS")
    return {} if named is None else {"VLLM_PLUGINS": f"{named},lora_filesystem_resolver"}


SMALL = pytest.mark.server(
    adapters=first_connector,
    flags={"max-loras": 1, "max-cpu-loras": 2},
    env={"VLLM_LORA_RESOLVER_CACHE_DIR": RESOLVED, **_plugins()},
)
