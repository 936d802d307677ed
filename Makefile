# What a person runs from a checkout. `make` alone lists it. Everything lives in .venv; nothing needs root.

PYTHON ?= $(shell command -v python3.11 || command -v python3)
BIN := .venv/bin
ARGS ?=

# pip leaves the byte code to the first import, so that one has to be kept.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help venv demo demo-long test cluster-parts images drills lint bench parity

help: ## this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

venv: .venv/installed ## make .venv and install STAIR with everything for work on it

.venv/installed: pyproject.toml
	@echo "making .venv with $(PYTHON); torch and the rest are about 1.3 GB, a minute on a fast line"
	@$(PYTHON) -m venv .venv
	@$(BIN)/python -m pip install --quiet --no-compile --disable-pip-version-check \
		--config-settings editable_mode=compat --editable '.[dev]'
	@touch $@
	@echo "installed: $$($(BIN)/python -m pip list --disable-pip-version-check 2>/dev/null | wc -l) packages"

demo: .venv/installed ## collect, train, evaluate and report on this machine in minutes
	@$(BIN)/stair-submit demo $(ARGS)

demo-long: .venv/installed ## the same with more training, up to 40 minutes
	@$(BIN)/stair-submit demo-long $(ARGS)

cluster-parts: ## as root on Debian: a real Slurm and Apptainer for the tests; elsewhere a line says what is missing
	@tools/devcluster install || echo "the tests of Slurm and Apptainer will be skipped"

images: .venv/installed cluster-parts ## the two images that the tests run in; they build what is missing, out of sight
	@$(BIN)/python -m tests.containers

drills: .venv/installed ## what becomes of runs on a real Slurm whose cables, disks and processes are broken
	@tools/drills $(ARGS)

# Tests that share a live cluster run one after the other; two workers would only wait for each other.
LIVE := tests/slurm tests/lines/test_cluster.py

test: .venv/installed cluster-parts ## all tests; ARGS='tests/submit -x' for some
ifeq ($(ARGS),)
	@status=0; \
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadfile $(addprefix --ignore ,$(LIVE)) || status=$$?; \
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest $(LIVE) || status=$$?; \
	exit $$status
else
	@OMP_NUM_THREADS=1 $(BIN)/python -m pytest $(ARGS)
endif

lint: .venv/installed ## style, format and types
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check --quiet .
	@$(BIN)/pyright

bench: .venv/installed ## every benchmark of tools/bench, as JSON lines
	@OMP_NUM_THREADS=1 $(BIN)/python tools/bench/run.py $(ARGS)

parity: .venv/installed ## our data sets against tensorflow-datasets, our models against timm, transformers, diffusers
	@$(BIN)/python tools/parity.py $(ARGS)
	@$(BIN)/python tools/model_parity.py
