# Needs only make and Python 3.11. Writes nothing outside this folder.

PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check --no-cache-dir -c constraints.txt

.PHONY: help run demo test test-all lint bench docs wheel constraints clean

help:
	@echo 'make run        make the environment and start the daemon on config.yaml'
	@echo 'make demo       watch the whole story in about a minute'
	@echo 'make test       lint, types and the quick tests'
	@echo 'make test-all   these and the slow tests'
	@echo 'make lint       lint and types only'
	@echo 'make bench      measure speed and memory; writes bench/out/'
	@echo 'make docs       generate the reference pages'
	@echo 'make wheel      build dist/*.whl'

$(VENV)/run: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed: make PYTHON=/path/to/python3.11")'
	@echo 'making the environment in $(VENV) (TensorFlow is large: a few minutes)'
	@$(PYTHON) -m venv $(VENV)
	@$(PIP) -e .
	@touch $@

$(VENV)/dev: $(VENV)/run
	@echo 'adding the tools for tests'
	@$(PIP) -e '.[dev,heic]'
	@touch $@

$(VENV)/bench: $(VENV)/dev
	@echo 'adding what the benchmark draws and compares with'
	@$(PIP) -e '.[dev,heic,bench]'
	@touch $@

run: $(VENV)/run
	@exec $(BIN)/classifyd run --config config.yaml

demo: $(VENV)/run
	@exec $(BIN)/classifyd demo

lint: $(VENV)/dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

test: lint
	$(BIN)/pytest -m 'not slow'

test-all: test
	$(BIN)/pytest -m slow

bench: $(VENV)/bench
	$(BIN)/python -m bench

docs: $(VENV)/dev
	$(BIN)/python docs/generate.py
	$(BIN)/python docs/reference_pages.py

wheel: $(VENV)/dev
	$(BIN)/python -m build --wheel --outdir dist .

# Resolves the newest versions that fit pyproject.toml, in an environment of its own.
constraints:
	rm -rf build/constraints && $(PYTHON) -m venv build/constraints
	build/constraints/bin/python -m pip install --quiet '.[dev,heic]'
	build/constraints/bin/python -m pip freeze --exclude classifyd > constraints.txt

clean:
	rm -rf $(VENV) build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache
