# Two commands on a machine that has Python 3.11 to 3.13, pip and make: make demo, make test.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
SCORER := $(VENV)/.scorer

# One thread for each test process: on small machines torch's own threads only get in each other's
# way. Runs that plan their threads set them themselves.
TEST_ENV := OMP_NUM_THREADS=1

.DEFAULT_GOAL := help
.PHONY: help install demo test test-slow lint bench

help: ## Show this list
	@grep -E '^[a-z-]+:.*## ' Makefile | sed -E 's/^([a-z-]+):.*## (.*)/  make \1\t\2/' | expand -t 18

install: $(INSTALLED) ## Make .venv with the pinned dependencies and fedskin itself

$(INSTALLED): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' || \
	  { echo "fedskin needs Python 3.11, 3.12 or 3.13; say which with  make PYTHON=python3.12"; exit 2; }
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@touch $@

# The ISIC challenge's scorer brings a package that is built with a C compiler. Only the slow tests
# need it.
$(SCORER): $(INSTALLED)
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[score]'
	@touch $@

demo: install ## Train over three simulated hospitals on synthetic images, in about a minute
	@test -d runs/demo-data || $(BIN)/fedskin data synth runs/demo-data
	@rm -rf runs/demo
	$(BIN)/fedskin simulate experiments/configs/demo.toml --out runs/demo

test: install ## Run the quick tests (minutes)
	$(TEST_ENV) $(BIN)/pytest

test-slow: $(SCORER) ## Run the slow tests (up to half an hour); needs a C compiler
	$(TEST_ENV) $(BIN)/pytest -m slow

lint: install ## Check style, types and the floors
	$(BIN)/ruff check --no-cache .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: install ## Measure the speed ratios and write benchmarks/results/
	$(BIN)/python -m benchmarks.run
