"""Makes `pytest cases/` work: the plugin that names, selects and records the checks."""

pytest_plugins = ["mm_lora.run.pytest_plugin"]
