# Everything happens in .venv; the commands below install what they need first and say what they do.
# Another interpreter:  make install PYTHON=python3.12      Options for pytest:  make test ARGS="-k gate -x"
# Another attack:       make fuzz SEED=7 COUNT=20000

PYTHON ?= python3
WORKERS ?= 2
ARGS ?=
SEED ?= 0
COUNT ?= 5000

VENV := .venv
SCRIPTS := $(if $(filter Windows_NT,$(OS)),Scripts,bin)
BIN := $(VENV)/$(SCRIPTS)
SHOW := $(VENV)/.stamp-demo
DEV := $(VENV)/.stamp-dev
LOWEST := .venv-lowest
# Without the constraints pip takes the newest torch and all of its CUDA packages.
PIP_INSTALL := $(BIN)/python -m pip install --disable-pip-version-check -c constraints.txt

.DEFAULT_GOAL := help
.PHONY: help install demo test test-all test-lowest fuzz lint format clean

help:  ## list the commands
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-11s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

install: $(DEV)  ## set up .venv with everything for development
	@echo "Ready: $(BIN)/memotr, and the tools for make test, make lint and make format."

# A development set-up has all that the demo needs and is used as it is.
demo: $(if $(wildcard $(DEV)),,$(SHOW))  ## track a clip, score it and show it beside a tracker without memory
	@echo "Running the demo: $(BIN)/memotr demo"
	@$(BIN)/memotr demo

test: $(DEV)  ## run the tests, without those marked slow
	@echo "Running the tests with $(WORKERS) workers, without those marked slow"
	@$(BIN)/python -m pytest -n $(WORKERS) $(ARGS)

test-all: $(DEV)  ## run every test, the slow ones too
	@echo "Running every test with $(WORKERS) workers"
	@$(BIN)/python -m pytest -n $(WORKERS) -m "" $(ARGS)

test-lowest: $(LOWEST)/.stamp  ## run the tests with the lowest versions that pyproject.toml claims, in a .venv-lowest of its own
	@echo "Running the tests with the lowest versions in $(LOWEST)/lowest.txt, with $(WORKERS) workers"
	@$(LOWEST)/$(SCRIPTS)/python -m pytest -n $(WORKERS) $(ARGS)

fuzz: $(DEV)  ## attack every reader with COUNT damaged inputs, the same for the same SEED
	@echo "Attacking every reader with $(COUNT) damaged inputs of seed $(SEED); what goes wrong is kept in outputs/fuzz"
	@$(BIN)/python -m tests.fuzz --seed $(SEED) --count $(COUNT) --workers $(WORKERS) --save outputs/fuzz

lint: $(DEV)  ## check style and types, change nothing
	@echo "Checking style (ruff check)"
	@$(BIN)/ruff check .
	@echo "Checking layout (ruff format --check)"
	@$(BIN)/ruff format --check .
	@echo "Checking types (mypy --strict on src/memotr)"
	@$(BIN)/mypy

format: $(DEV)  ## put imports and layout in order
	@echo "Putting imports and layout in order (ruff)"
	@$(BIN)/ruff check --fix-only --exit-zero .
	@$(BIN)/ruff format .

clean:  ## remove build products and caches; .venv, .venv-lowest and results stay
	@echo "Removing build products and caches"
	@rm -rf build dist .mypy_cache .ruff_cache .pytest_cache
	@find . -path "./.venv*" -prune -o -type d -name __pycache__ -prune -exec rm -rf {} +

# pip is the last thing that venv puts in place: a half-made .venv is completed, a whole one is left alone.
$(BIN)/pip:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { echo "memotr needs Python 3.11 or newer, and $(PYTHON) is $$($(PYTHON) --version 2>/dev/null || echo "not there"). Name another one: make $(MAKECMDGOALS) PYTHON=python3.12" >&2; exit 1; }
	@echo "Making $(VENV) with $$($(PYTHON) --version)"
	@$(PYTHON) -m venv $(VENV) || { echo "$(PYTHON) cannot make a virtual environment; on Debian and Ubuntu: apt install python3-venv" >&2; exit 1; }

# torch alone has the version of constraints.txt: see tools/lowest_versions.py. TrackEval, the tests' reference, is installed
# without its requirements, which are newer than the lowest claims.
$(LOWEST)/.stamp: pyproject.toml constraints.txt tools/lowest_versions.py
	@echo "Installing the lowest versions that pyproject.toml claims into $(LOWEST) (a few minutes)"
	@$(PYTHON) -m venv --clear $(LOWEST)
	@$(LOWEST)/$(SCRIPTS)/python tools/lowest_versions.py > $(LOWEST)/lowest.txt
	@$(LOWEST)/$(SCRIPTS)/python -m pip install --disable-pip-version-check -c $(LOWEST)/lowest.txt -e ".[test]"
	@$(LOWEST)/$(SCRIPTS)/python -m pip install --quiet --no-deps -c $(LOWEST)/lowest.txt trackeval pycocotools tabulate
	@$(LOWEST)/$(SCRIPTS)/python -m pip install --quiet --force-reinstall --no-deps -c $(LOWEST)/lowest.txt opencv-python-headless
	@touch $@

# trackeval and trackers bring opencv-python, which owns the same files as opencv-python-headless and needs a desktop's
# libGL. Laying the headless files on top again makes cv2 work on servers, whichever of the two came last.
$(SHOW): pyproject.toml constraints.txt | $(BIN)/pip
	@echo "Installing memotr with what scores, compares and fetches weights into $(VENV) (a few minutes the first time)"
	@$(PIP_INSTALL) -e ".[demo,hub]"
	@$(PIP_INSTALL) --quiet --force-reinstall --no-deps opencv-python-headless
	@touch $@

$(DEV): pyproject.toml constraints.txt | $(BIN)/pip
	@echo "Installing memotr with everything for development into $(VENV) (a few minutes the first time)"
	@$(PIP_INSTALL) -e ".[dev]"
	@$(PIP_INSTALL) --quiet --force-reinstall --no-deps opencv-python-headless
	@touch $(SHOW) $@
