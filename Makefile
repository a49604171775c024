# make demo: train on the embedded data.  make test: the test suite.
# make test-slow: what takes longer (every network family, replicas, JAX, the README).
# make assets: real data and weights for the examples.  make stamps: the real run.
# make recipes: every other way of cross-modal learning, expected beside measured.
PYTHON ?= python3
VENV := .venv
CACHE := .cache
PY := $(VENV)/bin/python
# test processes side by side; each takes up to 4 GB
WORKERS ?= 2
PYTEST := $(PY) -m pytest -n $(WORKERS) --durations=40

.PHONY: demo test test-slow assets stamps recipes lint clean

demo: $(VENV)/.cli
	$(VENV)/bin/mmkeras demo

test: $(VENV)/.test
	$(PY) -m ruff check mmkeras tests examples benchmarks
	$(PY) -m ruff format --check mmkeras tests examples benchmarks
	$(PYTEST) --dist loadfile -m "not slow"

test-slow: $(VENV)/.test
	$(PYTEST) --dist worksteal -m slow

assets: $(VENV)/.test
	$(PY) examples/stamps/assets.py --cache $(CACHE)

stamps: assets
	$(PY) examples/stamps/prepare.py --cache $(CACHE)
	$(PY) examples/stamps/train.py --cache $(CACHE)

recipes: assets
	$(PY) examples/stamps/prepare.py --cache $(CACHE)
	$(PY) -m examples.recipes

lint: $(VENV)/.test
	$(PY) -m ruff check --fix mmkeras tests examples benchmarks
	$(PY) -m ruff format mmkeras tests examples benchmarks

clean:
	rm -rf $(VENV) build *.egg-info .pytest_cache .ruff_cache

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "mmkeras wants Python 3.11 or newer: make PYTHON=python3.11 ..."; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(PY) -m pip install --quiet --upgrade pip

$(VENV)/.cli: setup.cfg pyproject.toml | $(VENV)/bin/python
	$(PY) -m pip install --quiet --editable ".[cli]"
	touch $@

$(VENV)/.test: setup.cfg pyproject.toml | $(VENV)/bin/python
	$(PY) -m pip install --quiet --editable ".[test]"
	touch $@
