# `make demo` runs the main job end to end, `make docs` builds site/, `make wheel` dist/*.whl.
# `make test` runs the quick tests, `make test-extended` the others, `make test-all` both. `make check` is what CI runs.
# Each sets up .venv first, with the newest Python it finds of 3.13, 3.12 and 3.11. PYTHON=python3.12 takes another,
# VENV=.venv312 another folder. `make demo` does not install the tools and extras that the others need.
FITS := -c 'import sys, venv, ensurepip; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' 2> /dev/null
PYTHON ?= $(shell for name in python3.13 python3.12 python3.11; do $$name $(FITS) && echo $$name && break; done)
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/pip --quiet --disable-pip-version-check install --root-user-action ignore --no-warn-script-location
UV := $(BIN)/uv --quiet pip install --python $(BIN)/python --compile-bytecode
PYTEST := $(BIN)/python -m pytest -q -rs -n 2 --dist worksteal --durations 25
RUN := runs/demo
VERSION := $(shell sed -n 's/^version = "\(.*\)"/\1/p' pyproject.toml)

.PHONY: demo test test-extended test-all bench check lint types docs install interpreter lock wheel

interpreter:
	@if test -x $(BIN)/python; then \
	    $(BIN)/python $(FITS) || { echo "$(VENV): expected Python 3.11, 3.12 or 3.13, got" \
	        "$$($(BIN)/python -V); delete $(VENV) and run make again" >&2; exit 1; }; \
	elif test -z "$(PYTHON)"; then \
	    echo "python: expected python3.13, python3.12 or python3.11, got none that runs; PYTHON=... names it" >&2; exit 1; \
	else \
	    $(PYTHON) $(FITS) || { echo "PYTHON: expected Python 3.11, 3.12 or 3.13 with venv, got $(PYTHON)" >&2; exit 1; }; \
	fi

$(VENV)/.usable: requirements.lock pyproject.toml | interpreter
	@echo "installing ris-mvdr into $(VENV)"
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@sed -n '/^uv==/,/[^\\]$$/p' requirements.lock > $(VENV)/uv.lock
	@$(PIP) --requirement $(VENV)/uv.lock
	@$(UV) --constraint requirements.lock --requirement pyproject.toml \
	    || $(PIP) --requirement requirements.lock  # which knows other registries
	@$(UV) --no-deps --no-build-isolation --editable . || $(PIP) --no-deps --no-build-isolation --editable .
	@touch $@

$(VENV)/.installed: $(VENV)/.usable
	@echo "installing the tools and extras of requirements.lock into $(VENV)"
	@$(UV) --requirement requirements.lock || $(PIP) --requirement requirements.lock
	@touch $@

install: $(VENV)/.installed

demo: $(VENV)/.usable
	@$(BIN)/python -m pipeline.run docs/runs/demo.toml --run-dir $(RUN)

test: install
	$(PYTEST) -m "not extended"

test-extended: install
	$(PYTEST) -m extended

test-all: install
	$(PYTEST)

lint: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: install
	$(BIN)/mypy

docs: install
	@NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict

wheel: install
	@rm -rf build dist  # what an earlier build left there would go into the wheel
	@$(BIN)/python -m build --wheel --no-isolation . > build.log || { cat build.log; exit 1; }
	@rm -rf build build.log
	@ls dist/*.whl

# After a change of pyproject.toml: the versions of requirements.lock stay where they fit; LOCK=--upgrade takes the newest.
lock: install
	$(BIN)/uv --quiet pip compile --universal --python-version 3.11 --fork-strategy fewest --generate-hashes --no-header \
	    --no-annotate --all-extras $(LOCK) --output-file requirements.lock pyproject.toml

bench: install
	$(BIN)/python -m pipeline.bench --output docs/benchmarks/$(VERSION).json
	$(BIN)/python -m pipeline.export --model-base-path runs/bench/ris_localizer
	TF_CPP_MIN_LOG_LEVEL=2 $(BIN)/python -m serving.bench --model-base-path runs/bench/ris_localizer --record docs/benchmarks/$(VERSION).json

check:
	.ci/run
