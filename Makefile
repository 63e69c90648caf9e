# `make demo` shows the whole path on synthetic images; `make test` runs the tests.
# Everything is installed into .venv, with the versions of constraints.txt.
#
#   make demo PYTHON=/path/to/python3     choose the interpreter (3.10 or newer)
#   make test ARGS="tests/fedefm/data"    hand arguments to pytest
#   make test-slow                        the tests that take longest
#   make test-federation                  the tests that provision and start sites for real
#   make demo PIPFLAGS=                   watch pip at work

CANDIDATES := python3 python3.13 python3.12 python3.11 python3.10
NEW_ENOUGH := import sys; sys.exit(sys.version_info < (3, 10))
PYTHON ?= $(or $(shell for p in $(CANDIDATES); do \
	$$p -c '$(NEW_ENOUGH)' >/dev/null 2>&1 && echo $$p && break; done),python3)
PIPFLAGS ?= --quiet
BIN := .venv/bin
INSTALL := $(BIN)/python -m pip install --disable-pip-version-check $(PIPFLAGS) -c constraints.txt

.PHONY: help demo federation install test test-slow test-federation lint format types bench clean

help:  ## this list
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 18

demo: .venv/installed  ## the main job on synthetic images, with a report to open
	$(BIN)/fedefm demo --again

federation: .venv/installed  ## four hospitals on this machine, with real kits and jobs
	PATH="$(CURDIR)/$(BIN):$$PATH" examples/loopback/federation.sh $(ARGS)

install: .venv/installed  ## only install

PARALLEL := OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto --maxprocesses 4 --dist loadgroup

test: .venv/installed-dev  ## the tests, but for slow ones and those on really provisioned sites
	$(PARALLEL) --ignore=tests/flare -m "not slow" $(ARGS)

test-slow: .venv/installed-dev  ## tests that take long, such as deaths in every phase and broken guards
	$(PARALLEL) --ignore=tests/flare -m slow $(ARGS)

test-federation: .venv/installed-dev  ## tests on really provisioned sites, one after the other
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest tests/flare $(ARGS)

lint: .venv/installed-dev  ## style
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .

format: .venv/installed-dev  ## mend the style
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

types: .venv/installed-dev  ## static types
	$(BIN)/mypy

bench: .venv/installed-bench  ## every benchmark in its short form
	@set -e; for script in tests/benchmarks/[a-z]*.py; do \
		echo "== $$script --quick"; $(BIN)/python $$script --quick; \
	done

clean:  ## remove .venv, caches and build files; runs/ stays
	rm -rf .venv build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis
	find fedefm privacy provisioning nvflare_jobs tests -name __pycache__ -type d -prune -exec rm -rf {} +

# A stamp is younger than what it was made from, so a second call installs nothing.

.venv/python:
	@$(PYTHON) -c '' 2>/dev/null || { \
		echo "There is no working $(PYTHON) here. Install Python 3.10 or newer," \
			"or name one: make PYTHON=/path/to/python3" >&2; exit 2; }
	@$(PYTHON) -c '$(NEW_ENOUGH)' || { \
		echo "$(PYTHON) is `$(PYTHON) -V 2>&1`; this project needs 3.10 or newer." \
			"Name another one: make PYTHON=/path/to/python3" >&2; exit 2; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { \
		echo "$(PYTHON) cannot make a virtual environment. Install its venv package" \
			"(Debian and Ubuntu: apt install python3-venv)." >&2; exit 2; }
	$(PYTHON) -m venv .venv
	@touch $@

.venv/installed: pyproject.toml constraints.txt | .venv/python
	@echo "Installing into .venv; this takes a few minutes and about 2 GB."
	$(INSTALL) -e .
	@touch $@

.venv/installed-dev: .venv/installed
	$(INSTALL) -e '.[dev,dicom,onnx]'
	@touch $@

.venv/installed-bench: .venv/installed
	$(INSTALL) -e '.[bench,dicom]'
	$(INSTALL) --no-deps flwr  # see the extra in pyproject.toml
	@touch $@
