# Everything that a developer or a machine does with this repository. `make` alone lists it.

PYTHON ?= python3
DURATION ?= 60
WORKERS ?= 2

BIN := .venv/bin
INSTALLED := .venv/installed
INSTALLED_SEMANTIC := .venv/installed-semantic
INSTALLED_K8S := .venv/installed-k8s
# Everything is resolved together, since what is installed first must fit what comes later; images get a part of the same.
COMPILE := $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header --no-annotate \
	--no-emit-index-url

.DEFAULT_GOAL := help
.PHONY: help setup run test test-k8s lint format bench down clean lock

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / { printf "  %-9s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)
	@echo
	@echo "  make run DURATION=60    seconds to run; with 0 until Ctrl-C"
	@echo "  make test WORKERS=2     processes that run tests side by side"

setup: $(INSTALLED) ## Install everything into .venv (the other targets do it, too)

$(INSTALLED): requirements.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo 'Python 3.11 or later is needed: make $(MAKECMDGOALS) PYTHON=/path/to/python3.11' >&2; exit 1; }
	@echo 'Installing into .venv (after a change of requirements.txt only)'
	@$(PYTHON) -m venv .venv
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-input --require-hashes -r requirements.txt
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-input --no-deps --no-build-isolation -e .
	@touch $@

$(INSTALLED_SEMANTIC): requirements-semantic.txt $(INSTALLED)
	@echo 'Installing what documents need into .venv: 3 GB (after a change of requirements-semantic.txt only)'
	@$(BIN)/uv pip install --quiet --compile-bytecode --python $(BIN)/python --require-hashes -r requirements-semantic.txt
	@touch $@

$(INSTALLED_K8S): requirements-k8s.txt $(INSTALLED_SEMANTIC)
	@echo 'Installing a Go toolchain and what draws plots into .venv (after a change of requirements-k8s.txt only)'
	@$(BIN)/uv pip install --quiet --python $(BIN)/python --require-hashes -r requirements-k8s.txt
	@touch $@

run: setup ## Start everything, drive the reference application, compare every copy, stop
	@$(BIN)/freshline try --duration $(DURATION)

test: $(INSTALLED_SEMANTIC) ## Run all tests
	@$(BIN)/pytest -n $(WORKERS) --ignore=tests/k8s

test-k8s: $(INSTALLED_K8S) ## Run the tests that need Kubernetes: a control plane is built for it, once, in minutes
	@$(BIN)/pytest tests/k8s

lint: $(INSTALLED_SEMANTIC) ## Check style, types and the arrows between packages
	@$(BIN)/ruff check
	@$(BIN)/ruff format --check
	@$(BIN)/mypy
	@$(BIN)/lint-imports

format: setup ## Format the code
	@$(BIN)/ruff check --fix
	@$(BIN)/ruff format

bench: $(INSTALLED_SEMANTIC) ## Measure, and write bench/results/latest.json
	@$(BIN)/python -m bench

down: ## Stop the local stack, and that of an interrupted benchmark
	@if [ -x $(BIN)/freshline ]; then $(BIN)/freshline down; fi
	@if [ -x $(BIN)/freshline ] && [ -e .local/bench ]; then FRESHLINE_LOCAL__FOLDER=.local/bench FRESHLINE_LOCAL__CACHE=.local/cache \
		$(BIN)/freshline down --data; fi

clean: down ## Stop the local stack and remove what was made: .venv, .local, caches
	@rm -rf .venv .local dist .hypothesis .import_linter_cache .mypy_cache .pytest_cache .ruff_cache
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +

lock: setup ## Resolve all lock files and the jars of the local stack anew
	@$(COMPILE) pyproject.toml --upgrade --extra local --extra dev --extra streams --extra semantic --extra model \
		--output-file requirements-semantic.txt
	@$(COMPILE) pyproject.toml --upgrade --extra local --extra dev --extra streams --constraint requirements-semantic.txt \
		--output-file requirements.txt
	@$(COMPILE) --upgrade --group k8s --constraint requirements-semantic.txt --output-file requirements-k8s.txt
	@$(COMPILE) --group build --constraint requirements.txt --output-file requirements-build.txt
	@$(COMPILE) pyproject.toml --extra streams --constraint requirements.txt --output-file requirements-run.txt
	@$(COMPILE) pyproject.toml --extra streams --extra semantic --extra model --constraint requirements-semantic.txt \
		--output-file requirements-run-semantic.txt
	@$(BIN)/python -m infra.local.lock_artifacts
