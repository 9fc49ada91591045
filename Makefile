# `make demo` runs the main job end to end, `make test` the tests, `make docs` builds site/; all set up .venv themselves
# (Python 3.11).
PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/pip --quiet --disable-pip-version-check install --root-user-action ignore --no-warn-script-location
UV := $(BIN)/uv --quiet pip install --python $(BIN)/python --compile-bytecode
RUN := runs/demo
VERSION := $(shell sed -n 's/^version = "\(.*\)"/\1/p' pyproject.toml)

.PHONY: demo test bench check lint types docs install

$(VENV)/.installed: requirements.lock pyproject.toml
	@echo "installing what requirements.lock lists into $(VENV)"
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@sed -n '/^uv==/,/[^\\]$$/p' requirements.lock > $(VENV)/uv.lock
	@$(PIP) --requirement $(VENV)/uv.lock
	@$(UV) --requirement requirements.lock || $(PIP) --requirement requirements.lock  # which knows other registries
	@$(PIP) --no-deps --no-build-isolation --editable .
	@touch $@

install: $(VENV)/.installed

demo: install
	@$(BIN)/python -m pipeline.run docs/runs/demo.toml --run-dir $(RUN)

test: install
	$(BIN)/python -m pytest -q -rs -n 2 --dist loadfile --durations 25

lint: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: install
	$(BIN)/mypy

$(VENV)/.docs: $(VENV)/.installed
	@$(PIP) --no-build-isolation --editable '.[docs]'
	@touch $@

docs: $(VENV)/.docs
	@NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict

bench: install
	$(BIN)/python -m pipeline.bench --output docs/benchmarks/$(VERSION).json
	$(BIN)/python -m pipeline.export --model-base-path runs/bench/ris_localizer
	TF_CPP_MIN_LOG_LEVEL=2 $(BIN)/python -m serving.bench --model-base-path runs/bench/ris_localizer --record docs/benchmarks/$(VERSION).json

check: lint types test
