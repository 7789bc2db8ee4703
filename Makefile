# Everything below works on a fresh clone: the environment in .venv is made, and made again when pyproject.toml changes.

PYTHON ?= $(shell for python in python3.11 python3.12 python3.13 python3.14 python3; do \
	"$$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && { echo "$$python"; break; }; done)
BIN := .venv/bin
STAMP := .venv/.installed
# Two workers on two cores: one torch thread each, or they fight for the cores.
WORKERS ?= 2
PYTEST := $(BIN)/python -m pytest
# A wheel of a whole torch is large: a registry that hiccups is asked again.
PIP := $(BIN)/python -m pip --disable-pip-version-check --retries 10 --timeout 60

.DEFAULT_GOAL := help
.PHONY: help quickstart test lint types docs tests verify crash-test experiments benchmarks page-test wheel-test format clean

help:  ## Say what can be made
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' Makefile

$(STAMP): pyproject.toml
	@test -n "$(PYTHON)" || { echo "No Python 3.11 or newer was found on the PATH; install one, or name it: make PYTHON=/path/to/python3" >&2; exit 1; }
	@echo "Installing reluscope and what it needs into .venv (once; a few minutes, most of it is torch)"
	@"$(PYTHON)" -m venv .venv
	@$(PIP) install --quiet --editable ".[dev]"
	@touch $(STAMP)

quickstart: $(STAMP)  ## Train nine small networks on real data, watch them, and say where the page is
	@$(BIN)/reluscope run quickstart --resume

test: $(STAMP)  ## Run all checks: lint, types, documentation, tests
	@$(MAKE) --no-print-directory lint
	@$(MAKE) --no-print-directory types
	@$(MAKE) --no-print-directory docs
	@$(MAKE) --no-print-directory tests

lint: $(STAMP)  ## Check style with ruff
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(STAMP)  ## Check types with mypy
	$(BIN)/mypy

docs: $(STAMP)  ## Build the documentation into docs/_build/html; warnings are fatal
	$(BIN)/python -m sphinx --quiet --fail-on-warning --keep-going -b html docs docs/_build/html

tests: $(STAMP)  ## Run the tests and doctests, without the long ones
	OMP_NUM_THREADS=1 $(PYTEST) -n $(WORKERS) --dist worksteal --quiet

verify: $(STAMP)  ## Put all claims to the test, with 10,000 cases each; the verdicts go to results/claims-*.nc
	OMP_NUM_THREADS=1 $(BIN)/reluscope verify --examples 10000 --out results/claims-$$(date -u +%Y%m%dT%H%M%SZ).nc

crash-test: $(STAMP)  ## Kill a training run at random moments and resume it
	OMP_NUM_THREADS=1 $(BIN)/python tests/crash/kill_and_resume.py

experiments: $(STAMP)  ## Run the long experiments
	$(PYTEST) -m slow --durations=0

benchmarks: $(STAMP)  ## Measure how fast it is
	$(PYTEST) tests/benchmarks -o python_files='bench_*.py' --benchmark-enable

page-test: $(STAMP)  ## Open the report in headless Chromium, without network
	$(PYTEST) -m page

wheel-test: $(STAMP)  ## Build the wheel and try it in an empty environment
	$(PYTEST) tests/packaging -m packaging

format: $(STAMP)  ## Let ruff put the sources in order
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:  ## Remove the environment and everything that was built
	rm -rf .venv dist docs/_build .mypy_cache .ruff_cache .pytest_cache .hypothesis .benchmarks
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
