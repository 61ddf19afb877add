# Every target does its own set-up; a second call only runs. No sudo, nothing outside this folder and the user's caches.
# PYTHON names another Python, VENV another environment folder, ARGS goes to mm-lora or pytest.
SHELL := /bin/bash
.DEFAULT_GOAL := help
PYTHON ?= python3
VENV ?= .venv
GPU_VENV ?= .venv-gpu
DOCS_VENV ?= .venv-docs
BIN := $(VENV)/bin
SETUP := "$(PYTHON)" harness/mm_lora/install

.PHONY: help setup verify test e2e bench lint schemas reference docs gpu-test lock wheel clean

help: ## this list
	@grep -E '^[a-z-]+:.*##' $(firstword $(MAKEFILE_LIST)) | sed -E 's/:[^#]*## /\t/' | expand -t 12

setup: ## make .venv, pinned; nothing to do where it is ready
	@$(SETUP) --venv "$(VENV)"

verify: setup ## serve a miniature on a real vLLM and check it
	@"$(BIN)/mm-lora" verify $(ARGS)

test: setup ## the harness's own tests, in seconds
	@"$(BIN)/python" -m pytest tests/unit -n 2 --dist worksteal $(ARGS)

# Two files at a time: a server that starts, or waits, has one core busy.
e2e: setup ## the tests that need torch, a real vLLM or processes, in minutes
	@"$(BIN)/python" -m pytest tests/e2e -n 2 --dist loadfile --no-loadscope-reorder $(ARGS)

bench: setup ## what a run costs: parts, ratios, memory; ARGS=--quick for less
	@"$(BIN)/python" -m mm_lora.cli.bench $(ARGS)

lint: setup ## ruff, mypy and the layers
	"$(BIN)/ruff" check harness cases tests requirements docs
	"$(BIN)/ruff" format --check harness cases tests requirements docs
	"$(BIN)/mypy" harness/mm_lora
	"$(BIN)/lint-imports" --no-cache

schemas: setup ## write docs/schemas anew from the types
	@"$(BIN)/python" -m mm_lora.cli.schemas docs/schemas

reference: setup ## write docs/reference anew from the code
	@"$(BIN)/python" -m mm_lora.cli.reference docs/reference

# Not quietly: mkdocs counts only the warnings that it prints, and each of them must fail the build.
docs: ## build the site into site/, in an environment of its own; links are checked
	@$(SETUP) --docs --venv "$(DOCS_VENV)"
	@NO_MKDOCS_2_WARNING=1 "$(DOCS_VENV)/bin/mkdocs" build $(ARGS)

gpu-test: ## verify on GPUs; refuses before any set-up where there is none (its exit code is printed)
	@if ! { nvidia-smi -L 2>/dev/null | grep -q '^GPU' || compgen -G '/dev/nvidia[0-9]*' >/dev/null; }; then \
	  echo "gpu-test: this machine has no NVIDIA GPU that can be seen (nvidia-smi, /dev/nvidia*)" >&2; \
	  echo "  check: the driver, and that a container is given its GPUs; without a GPU use \`make verify\`" >&2; \
	  echo "gpu-test: exit code 3; make itself ends with 2 after any failure" >&2; \
	  exit 3; \
	fi
	@$(SETUP) --gpu --venv "$(GPU_VENV)"
	@"$(GPU_VENV)/bin/mm-lora" verify --profile gpu $(ARGS); code=$$?; \
	echo "gpu-test: exit code $$code$$( ((code)) && echo '; make itself ends with 2 after any failure')" >&2; exit $$code

lock: setup ## resolve the pinned requirements anew
	@"$(BIN)/python" requirements/lock.py "$(BIN)/uv"

wheel: setup ## build the wheel into dist/
	@"$(BIN)/uv" build --wheel --no-build-isolation --python "$(BIN)/python" --out-dir dist .

clean: ## remove environments, caches of tools, what was built; reports stay
	rm -rf "$(VENV)" "$(GPU_VENV)" "$(DOCS_VENV)" dist site .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find harness cases tests requirements -name __pycache__ -prune -exec rm -rf {} +
