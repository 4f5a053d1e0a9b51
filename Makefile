# Everything this project can do, from a fresh clone: each target makes the environment it needs, once.

PYTHON ?= python3
VENV := .venv
PY := $(VENV)/bin/python
READY := $(VENV)/.ready
WHEELS ?= --only-binary :all: # a source distribution runs its author's code to be installed; WHEELS= allows it

# Byte code is worth seconds in every process, numba's cache does not belong among installed packages.
export PYTHONDONTWRITEBYTECODE :=
export NUMBA_CACHE_DIR := $(CURDIR)/$(VENV)/numba
export MPLBACKEND := Agg

.DEFAULT_GOAL := help
.PHONY: help setup demo test check bench mutate campaign lock audit clean

help: ## this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: $(READY) ## the environment in .venv, checked against constraints.txt

demo: $(READY) ## the engine on sample data, in the terminal
	@$(PY) -m ffe.demo

test: $(READY) ## all tests but the long runs
	@$(PY) -m pytest -n 4 --dist worksteal $(ARGS)

check: $(READY) ## lint, format and types
	@$(PY) -m ruff check .
	@$(PY) -m ruff format --check .
	@$(PY) -m mypy

bench: $(READY) ## every benchmark, a table each
	@for script in benchmarks/*.py; do echo "== $$script"; $(PY) "$$script" || exit 1; done

mutate: $(READY) ## change the core one place at a time: does a test notice? (ARGS="--files ffe/book.py --sample 50")
	@$(PY) tests/mutation.py $(ARGS)

campaign: $(READY) ## the long runs
	@HYPOTHESIS_PROFILE=campaign $(PY) -m pytest -m campaign $(ARGS)

lock: $(READY) ## constraints.txt anew from pyproject.toml (ARGS="--upgrade" for newer versions)
	@$(PY) -m uv pip compile pyproject.toml --output-file constraints.txt --all-extras --universal \
		--python-version 3.11 --fork-strategy fewest --generate-hashes --no-emit-index-url --no-header \
		--no-annotate --quiet $(ARGS)

# A script with every pinned requirement stands for the lock file that uv would audit.
audit: $(READY) ## known vulnerabilities of the pinned requirements; it needs a network
	@{ printf '# /// script\n# requires-python = ">=3.11"\n# dependencies = [\n'; \
		sed -n 's/^\([A-Za-z0-9][^\\]*[^ \\]\) *\\$$/#   "\1",/p' constraints.txt; printf '# ]\n# ///\n'; } > $(VENV)/audit.py
	@$(PY) -m uv audit --quiet --script $(VENV)/audit.py $(ARGS) || { \
		echo "Not audited, or something was found: read what stands above. Without a network nothing can be known."; exit 1; }

clean: ## remove the environment, caches and build products; data/ stays
	@rm -rf $(VENV) build dist *.egg-info .mypy_cache .pytest_cache .ruff_cache .hypothesis
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +

# uv takes half a minute where pip takes two; both check every hash. The project itself has none to check.
$(READY): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
		echo "ffe needs Python 3.11 or newer, but $(PYTHON) is $$($(PYTHON) --version 2>&1): install one and say which, as in make PYTHON=python3.12 $(MAKECMDGOALS)"; exit 1; }
	@echo "Setting up $(VENV), once: about a minute."
	@test -x $(PY) || $(PYTHON) -m venv $(VENV)
	@sed -n '/^uv==/,/[^\\]$$/p' constraints.txt > $(VENV)/uv.txt
	@if $(PY) -m pip install --quiet $(WHEELS) --require-hashes --requirement $(VENV)/uv.txt; then \
		$(PY) -m uv pip install --quiet $(WHEELS) --python $(PY) --require-hashes --requirement constraints.txt && \
		$(PY) -m uv pip install --quiet --python $(PY) --no-deps --no-build-isolation --editable .; \
	else \
		$(PY) -m pip install --quiet $(WHEELS) --require-hashes --requirement constraints.txt && \
		$(PY) -m pip install --quiet --no-deps --no-build-isolation --editable .; \
	fi
	@touch $@
