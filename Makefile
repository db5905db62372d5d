# cowl's house: everything that is done with a checkout. `make help` lists it.
#
# Each target makes the virtual environment that it needs: requirements.lock holds what cowl runs on,
# requirements-dev.lock what it is developed with, both pinned by hash.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

PYTHON ?= python3
VENV ?= .venv
ARGS ?=
RUNS ?= 500
SECONDS ?= 60
UML_TESTS ?=
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check
RUN_READY := $(VENV)/.run-ready
DEV_READY := $(VENV)/.dev-ready

.PHONY: help run venv test pytest test-uml check format crash bench fuzz screenshots lock clean

help: ## this list
	@sed -nE 's/^([a-z-]+):[^#]*## (.*)/  make \1|\2/p' Makefile | column -t -s '|'

run: root $(RUN_READY) ## open the workstation (ARGS="ps -a" for a command instead)
	@exec $(BIN)/cowl $(ARGS)

venv: $(DEV_READY) ## the virtual environment with everything to develop with

check: $(DEV_READY) ## lint, format, types, the direction of imports
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(DEV_READY) ## put the code into shape
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

test: pytest test-uml ## all tests, then the kernel's again under User Mode Linux

pytest: $(DEV_READY) .tests-ready ## the tests on this machine's kernel (ARGS="-k commit")
	$(BIN)/python -m pytest $(ARGS)

test-uml: $(DEV_READY) .tests-ready ## kernel tests on a second kernel, with cgroup v2 (UML_TESTS="tests/kernel")
	@$(BIN)/python -m tests.uml $(UML_TESTS)

crash: root $(DEV_READY) .tests-ready ## kill commands at every step and RUNS times at random
	@$(BIN)/python -m tests.faults.crash $(RUNS)

bench: root $(DEV_READY) .tests-ready ## cowl beside its peers and floors (ARGS="run exec")
	@$(BIN)/python -m tests.bench $(ARGS)

fuzz: root $(DEV_READY) ## fuzz what reads other people's bytes (SECONDS=60 each, ARGS="tar layer")
	$(PIP) --require-hashes -r requirements-fuzz.lock
	@$(BIN)/python -m tests.fuzz --seconds $(SECONDS) $(ARGS)

screenshots: root $(DEV_READY) .tests-ready ## drive the app on real containers and draw screenshots/
	@$(BIN)/python -m tests.screenshots $(ARGS)

lock: $(BIN)/python ## resolve the dependencies of pyproject.toml anew
	$(PIP) uv
	$(BIN)/uv pip compile --quiet $(LOCK_OPTIONS) --extra build -o requirements.lock pyproject.toml
	$(BIN)/uv pip compile --quiet $(LOCK_OPTIONS) --extra build --extra dev -c requirements.lock \
		-o requirements-dev.lock pyproject.toml
	$(BIN)/uv pip compile --quiet $(LOCK_OPTIONS) --group fuzz -o requirements-fuzz.lock

LOCK_OPTIONS := --upgrade --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
	--no-annotate --custom-compile-command "make lock"

clean: ## remove what these targets made in the checkout; stores of images are left alone
	rm -rf $(VENV) build dist *.egg-info .tests-ready .mypy_cache .ruff_cache .pytest_cache .hypothesis \
		.import_linter_cache snapshot_report.html
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

.PHONY: root
root:
	@[ "$$(id -u)" = 0 ] || { echo "cowl: containers without root come later; sudo make $(MAKECMDGOALS)" >&2; exit 1; }

$(BIN)/python:
	@command -v $(PYTHON) >/dev/null || { echo "cowl: no $(PYTHON) here; apt install python3 python3-venv" >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo \
		"cowl: $$($(PYTHON) --version) is too old, it takes 3.11; make $(MAKECMDGOALS) PYTHON=python3.11" >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { echo \
		"cowl: $(PYTHON) cannot make virtual environments; apt install python3-venv" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)

$(RUN_READY): requirements.lock pyproject.toml | $(BIN)/python
	@echo "making $(VENV) (once)"
	$(PIP) --require-hashes -r requirements.lock
	$(PIP) --no-deps --no-build-isolation --config-settings editable_mode=compat -e .
	@touch $@

$(DEV_READY): requirements-dev.lock pyproject.toml | $(BIN)/python
	@echo "making $(VENV) for development (once)"
	$(PIP) --require-hashes -r requirements-dev.lock
	$(PIP) --no-deps --no-build-isolation --config-settings editable_mode=compat -e .
	@touch $@ $(RUN_READY)

.tests-ready: tests/install-peers
	@tests/install-peers
	@touch $@
