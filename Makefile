# Every target does its own set-up; a second call only runs.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin

.PHONY: help setup verify test lint clean
help: ## this list
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*##/\t/'

setup: ## make .venv, pinned; nothing to do where it is ready
	@$(PYTHON) harness/mm_lora/install --venv "$(VENV)"

verify: setup ## serve a miniature on real vLLM and check it (ARGS="…")
	@$(BIN)/mm-lora verify $(ARGS)

test: setup ## the harness's own tests
	@$(BIN)/python -m pytest tests/unit $(ARGS)

lint: setup ## ruff and mypy
	@$(BIN)/ruff check harness cases tests
	@$(BIN)/mypy --strict harness/mm_lora

clean: ## remove the environment and the caches of tools
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache
