# Every target is enough on its own: it makes the environment it needs and keeps it for the next call.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
RUNTIME := $(VENV)/.runtime
DEV := $(VENV)/.dev

.PHONY: demo test lint type check clean

demo: $(RUNTIME)
	$(BIN)/python tools/demo.py

test: $(DEV)
	$(BIN)/python -m pytest

lint: $(DEV)
	$(BIN)/ruff check .

type: $(DEV)
	$(BIN)/mypy

check: lint type test

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

$(RUNTIME): requirements.txt setup.py | $(BIN)/python
	$(BIN)/python -m pip install --only-binary :all: -r requirements.txt
	$(BIN)/python -m pip install --no-deps -e .
	touch $@

$(DEV): requirements-dev.txt $(RUNTIME)
	$(BIN)/python -m pip install --only-binary :all: -r requirements-dev.txt
	touch $@

clean:
	rm -rf $(VENV) work_dirs
