# Everything that a person types. `make quickstart` and `make test` prepare what they need.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
PIP    := $(BIN)/python -m pip --disable-pip-version-check --quiet

.DEFAULT_GOAL := help
.PHONY: help quickstart install test campaign lint types format bench peers clean

help: ## What can be typed
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

# A stamp a kind of install: pip runs again only where the pins or the package's metadata changed.
$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 11) else "Headgate needs Python 3.11 or newer; say which: make PYTHON=python3.11 ...")'
	@$(PYTHON) -m venv $(VENV) || { echo "python3 has no venv module; on Debian: apt-get install python3-venv"; exit 2; }

$(VENV)/.quickstart: pyproject.toml constraints.txt | $(VENV)/bin/python
	$(PIP) install --constraint constraints.txt --editable '.[quickstart]'
	@touch $@

$(VENV)/.dev: pyproject.toml constraints.txt | $(VENV)/bin/python
	$(PIP) install --constraint constraints.txt --editable '.[dev]'
	@touch $@ $(VENV)/.quickstart

quickstart: $(VENV)/.quickstart ## Optimize the example endpoint, from nothing to a decision, a report and a drill
	$(BIN)/headgate optimize --promote examples/python-help/headgate.yaml
	$(BIN)/headgate drill -f examples/python-help/headgate.yaml

install: $(VENV)/.dev ## .venv with everything for development

test: install lint ## Lint, then all tests and doctests
	$(BIN)/python -m pytest --numprocesses 2 --dist loadfile --no-loadscope-reorder

campaign: install ## The long fault and property campaigns: millions of decisions, a hundred SIGTERMs
	$(BIN)/python -m pytest -m campaign --durations=0

lint: install ## ruff, mypy (strict over src), import-linter
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: $(VENV)/.quickstart ## Did the last quickstart reach its targets?
	$(BIN)/python -m benchmarks.quickstart

peers: $(VENV)/bin/python ## An environment for each server that ours is measured against, and for the referee
	$(BIN)/python -m benchmarks.serving.install

format: install ## Let ruff format and fix what it can
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

clean: ## Remove the environment and every cache; never a store
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis build dist
