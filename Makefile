# Two commands on a machine that has Python 3.11 to 3.13, pip and make: make demo, make test.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
EXTRAS := $(VENV)/.extras

# One thread for each test process: on small machines more torch threads only slow each other down.
# Runs that plan their threads set them themselves. Compiled modules are kept whatever the shell says,
# or some hundred processes would each compile the whole project. More test files at a time than the
# two cores that the suite is made for, because many tests mostly wait for processes to start or end;
# the slow ones fill the cores. Those begin with the benchmarks' tests, of which two wait for five
# minutes: files with few tests would come last, and both would wait at once.
TEST_ENV := OMP_NUM_THREADS=1 PYTHONDONTWRITEBYTECODE=
TEST_OPTIONS := --dist loadfile

.DEFAULT_GOAL := help
.PHONY: help install demo smoke hospitals test test-slow lint app-config bench gpu-check soak

help: ## Show this list
	@grep -E '^[a-z-]+:.*## ' Makefile | sed -E 's/^([a-z-]+):.*## (.*)/  make \1\t\2/' | expand -t 18

install: $(INSTALLED) ## Make .venv with the pinned dependencies and fedskin itself

$(INSTALLED): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' || \
	  { echo "fedskin needs Python 3.11, 3.12 or 3.13; say which with  make PYTHON=python3.12"; exit 2; }
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev,export,explain]'
	@touch $@

# Only the slow tests need the extras. A dependency of the ISIC challenge's scorer needs a C compiler.
$(EXTRAS): $(INSTALLED)
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[score,mlflow,tensorboard]'
	@touch $@

demo: install ## Train over three simulated hospitals on synthetic images, in about a minute
	@test -d runs/demo-data || $(BIN)/fedskin data synth runs/demo-data
	@rm -rf runs/demo
	$(BIN)/fedskin simulate experiments/configs/demo.toml --out runs/demo

smoke: install ## Run small versions of the three tasks of docs/study.md as one campaign, with report (minutes)
	@test -d runs/smoke-data/ham10000 || $(BIN)/fedskin data synth runs/smoke-data/ham10000 --images 60
	@test -d runs/smoke-data/brats2019 || $(BIN)/fedskin data synth runs/smoke-data/brats2019 --dataset brats2019 --patients 24
	$(BIN)/fedskin campaign run experiments/campaigns/smoke.toml --out runs/smoke
	$(BIN)/fedskin report runs/smoke

hospitals: install ## Run a coordinator and three hospitals as on separate machines (minutes)
	PATH="$(CURDIR)/$(BIN):$$PATH" deploy/hospitals.sh

test: install ## Run the quick tests (minutes)
	$(TEST_ENV) $(BIN)/pytest $(TEST_OPTIONS) --numprocesses 3

test-slow: $(EXTRAS) ## Run the slow tests (half an hour); needs a C compiler
	$(TEST_ENV) $(BIN)/pytest $(TEST_OPTIONS) --no-loadscope-reorder --numprocesses 2 -m slow

lint: install ## Check style, types and import layers
	$(BIN)/ruff check --no-cache .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

app-config: install ## Write the config's keys into pyproject.toml, after a new key or method
	$(BIN)/python -m experiments.app_config

bench: install ## Measure the speed ratios and write benchmarks/results/
	$(BIN)/python -m benchmarks.run_benchmarks

gpu-check: install ## Check a GPU: errors, bits, memory, speed (8 minutes)
	$(BIN)/python -m benchmarks.gpu_check

soak: install ## Long tests: kill campaigns and hospitals, cut the network, combinations (hours)
	$(BIN)/python -m benchmarks.soak
	$(BIN)/python -m benchmarks.soak_deployment
	$(BIN)/python -m benchmarks.soak_methods
	$(BIN)/python -m benchmarks.soak_cut_off
	$(BIN)/python -m benchmarks.soak_combinations
