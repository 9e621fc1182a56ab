# `make help` lists what there is. Everything runs in .venv, which the first target makes.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
export OMP_NUM_THREADS ?= $(shell nproc 2>/dev/null || echo 2)

.DEFAULT_GOAL := help
.PHONY: help demo gallery test test-slow lint format bench docs clean

help: ## Say what each target does
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  %-10s %s\n", $$1, $$2}'

# Each set of extras is installed once, and again when pyproject.toml or constraints.txt changes.
$(VENV)/%.installed: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit("limelight needs Python 3.11 or newer: make PYTHON=python3.11 ..." if sys.version_info < (3, 11) else 0)'
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "installing limelight[$*] into $(VENV) (the first time takes a few minutes) ..."
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[$*]'
	@touch $@

demo: $(VENV)/demo.installed ## Explain photographs, then study a classifier; pictures and page land in out/demo
	@$(BIN)/python examples/demo.py
	@$(BIN)/python examples/study.py

gallery: $(VENV)/demo.installed ## Draw every method on six photographs; minutes; pictures land in out/gallery
	@$(BIN)/python examples/gallery.py --docs

# One process a core, one thread a process: two that spin for the same core take twice the time.
test test-slow: export OMP_NUM_THREADS = 1

# Other examples each time: what they find is kept as an example of its test.
test-slow: export HYPOTHESIS_PROFILE = default

test: $(VENV)/test.installed ## Run the default tests
	@$(BIN)/python -m pytest -n auto -m "not slow"

test-slow: $(VENV)/test.installed ## Run all the tests, the slow ones too
	@$(BIN)/python -m pytest -n auto

lint: $(VENV)/dev.installed ## Check style, types and the order of the rooms
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/pyright
	@$(BIN)/lint-imports

format: $(VENV)/dev.installed ## Format the code
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

bench: $(VENV)/test.installed ## Measure time in each engine and beside the peers, and memory; a page lands in out/bench
	@$(BIN)/python -m benchmarks.memory
	@$(BIN)/python -m benchmarks.bench --batch 1 8 32

docs: $(VENV)/test.installed ## Run the examples in README and docs
	@$(BIN)/python -m pytest -q tests/test_docs.py

clean: ## Remove what was made
	rm -rf $(VENV) out dist build *.egg-info .pytest_cache .ruff_cache .hypothesis
