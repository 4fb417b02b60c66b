# The commands of the course. `make` alone lists them. The environment is in .venv and is made by whatever needs it first.
#
#   PYTHON       the Python to start from, 3.11 or newer (default: python3)
#   WORKERS      how many tests run side by side (default: 2)
#   TESTS        which tests (default: tests, all of them)
#   LAB_ARGS     more for JupyterLab, as in: make lab LAB_ARGS="--no-browser --port 8900"
#   PYTEST_ARGS  more for pytest, as in: make test TESTS=tests/unit PYTEST_ARGS="-k losses"

PYTHON ?= python3
WORKERS ?= 2
TESTS ?= tests
LAB_ARGS ?=
PYTEST_ARGS ?=
VENV := .venv
PY := $(VENV)/bin/python
UV := $(VENV)/bin/uv
STAMP := $(VENV)/.installed

.DEFAULT_GOAL := help
.PHONY: help setup lab test course notebooks bench lock clean

help: ## this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "make %-10s %s\n", $$1, $$2 }' Makefile

setup: $(STAMP) ## make .venv and install exactly what requirements.lock says (again only when that changes)

# uv takes a third of pip's time. Where it cannot be had or finds no registry, pip installs the same files: both compare the hashes.
$(STAMP): requirements.lock pyproject.toml
	@command -v $(PYTHON) >/dev/null || { echo "$(PYTHON) was not found. Install Python 3.11 or newer, or type: make $(MAKECMDGOALS) PYTHON=/path/to/python"; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "This course needs Python 3.11 or newer; $(PYTHON) is $$($(PYTHON) --version). Type: make $(MAKECMDGOALS) PYTHON=python3.12"; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { echo "$(PYTHON) cannot make virtual environments. On Debian or Ubuntu type: sudo apt install python3-venv"; exit 1; }
	@test -x $(PY) || { echo "Making $(VENV) ..."; $(PYTHON) -m venv $(VENV); }
	@awk '/^uv==/ { on = 1 } on { print } on && !/\\$$/ { exit }' requirements.lock > $(VENV)/uv.txt
	@echo "Installing (about 6 GB with CUDA; a minute or two on a fast line) ..."
	@$(PY) -m pip install --quiet --disable-pip-version-check --require-hashes -r $(VENV)/uv.txt \
	  && $(UV) pip install --quiet --python $(PY) --compile-bytecode --require-hashes -r requirements.lock \
	  || { echo "uv could not do it, so pip does."; \
	       $(PY) -m pip install --disable-pip-version-check --require-hashes -r requirements.lock; }
	@$(PY) -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $(STAMP)
	@echo "Ready. Type: make lab"

lab: setup ## open the course in JupyterLab
	$(PY) -m jupyter lab $(LAB_ARGS) notebooks/00_start_here.ipynb

test: setup ## every test: package, equations, checks, notebooks, nbval, and the browser where Chromium is there
	OMP_NUM_THREADS=1 $(PY) -m pytest -n $(WORKERS) --dist loadgroup $(PYTEST_ARGS) $(TESTS)

course: setup ## run every lesson in full, without a browser, and store the outputs (some minutes)
	$(PY) notebooks/build.py execute --profile full

notebooks: setup ## make the notebooks from notebooks/source
	$(PY) notebooks/build.py generate

bench: setup ## measure all claims about speed again, on this (quiet) machine: a quarter of an hour
	$(PY) -m benchmarks

lock: ## pin the newest versions that fit pyproject.toml into requirements.lock, with hashes and without host names
	@test -x $(UV) || { echo "uv is missing. Type: make setup"; exit 1; }
	$(UV) pip compile pyproject.toml --group dev --universal --upgrade --generate-hashes --no-header --no-annotate -o requirements.lock

clean: ## remove what tests and tools left behind (not .venv, not the data)
	rm -rf .pytest_cache .ruff_cache .hypothesis .benchmarks
	find . -path ./$(VENV) -prune -o -type d \( -name __pycache__ -o -name .ipynb_checkpoints \) -exec rm -rf {} +
