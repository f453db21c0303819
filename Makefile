# Everything runs from a virtual environment in .venv, made from locked, hashed requirements.

VENV := .venv
BIN := $(VENV)/bin
ARGS ?=
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help demo fleet-demo test faults bench check format migration clean

help: ## Show this help
	@echo 'usage: make TARGET [ARGS="…"]'
	@echo
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: $(VENV)/.runtime ## Tell twelve simulated months of a campaign, without any server (ARGS="--patients 600")
	@$(BIN)/reactivate demo $(ARGS)

fleet-demo: $(VENV)/.runtime ## The same on private RabbitMQ, Redis and PostgreSQL, a process for each job
	@$(BIN)/reactivate demo --fleet $(ARGS)

# A worker that dies ends the run and is told with its test: its successor would begin with the same one.
test: $(VENV)/.dev ## Run every test on all cores, on private servers (ARGS="tests/services -k redis"; -n 0: in one process)
	$(BIN)/pytest -n auto --dist loadscope --max-worker-restart 0 $(ARGS)

faults: $(VENV)/.dev ## Kill, cut and wipe a real fleet's processes and servers, and judge it (ARGS="--injections 200 --seed 7")
	@$(BIN)/python -m tests.faults $(ARGS)

bench: $(VENV)/.bench ## Measure the speed beside references, on private servers, in 25 minutes (ARGS="--quick")
	@$(BIN)/python -m ops.bench $(ARGS)

check: $(VENV)/.dev ## Format, lint, types, import contract
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(VENV)/.dev ## Put the code into its one format
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

migration: $(VENV)/.dev ## Draft a migration from the tables in code (ID=0002 MESSAGE="What it does")
	$(BIN)/python -m ops.migrations.draft "$(ID)" "$(MESSAGE)"

clean: ## Remove the virtual environment and what was built
	rm -rf $(VENV) build .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis

# The first Python that is new enough and can make virtual environments. A name on PATH may be a shim that leads nowhere,
# so each is tried.
$(BIN)/python:
	@for candidate in python3.11 python3.12 python3.13 python3.14 python3 python; do \
	  if $$candidate -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1; then \
	    echo "Making $(VENV) with $$candidate"; \
	    exec $$candidate -m venv $(VENV); \
	  fi; \
	done; \
	echo 'No Python 3.11 or later with venv found (Debian, Ubuntu: apt-get install python3 python3-venv).' >&2; \
	exit 1

# Stamps: installed again only when a lock, or what is installed from here, changed.
$(VENV)/.runtime: requirements.lock pyproject.toml | $(BIN)/python
	@echo 'Installing what requirements.lock names'
	@$(PIP) --require-hashes -r requirements.lock
	@$(PIP) --no-deps --no-build-isolation --editable .
	@touch $@

$(VENV)/.dev: requirements-dev.lock $(VENV)/.runtime
	@echo 'Installing what requirements-dev.lock names'
	@$(PIP) --require-hashes -r requirements-dev.lock
	@touch $@

$(VENV)/.bench: requirements-bench.lock $(VENV)/.dev
	@echo 'Installing what requirements-bench.lock names'
	@$(PIP) --require-hashes -r requirements-bench.lock
	@touch $@
