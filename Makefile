# Every target is enough on its own: it makes the environment it needs and keeps it for the next call.
PYTHON ?= python3
PYTHON_OLDEST ?= python3.9
VENV := .venv
BIN := $(VENV)/bin
RUNTIME := $(VENV)/.runtime
DEV := $(VENV)/.dev
OLDEST := .venv-oldest
ONEDL := .venv-onedl
PARALLEL := -n auto --dist loadfile

.PHONY: demo test test-all attack test-oldest test-onedl lint type check docs clean

demo: $(RUNTIME)
	$(BIN)/python tools/demo.py

test: $(DEV)
	$(BIN)/python -m pytest $(PARALLEL)

# Everything, the tests marked slow and the full scale of the attack tests included, with its coverage.
test-all: $(DEV)
	OVSEG_ATTACK=full $(BIN)/python -m pytest -m '' $(PARALLEL) --cov=ovseg --cov-report=term-missing:skip-covered --cov-fail-under=90

# Broken input, kills and load, at full scale: up to 40 minutes.
attack: $(DEV)
	OVSEG_ATTACK=full $(BIN)/python -m pytest tests/attack -m '' --no-cov $(PARALLEL)

# The same tests on the oldest Python and on the lower bound of every line of requirements.txt.
test-oldest: $(OLDEST)/.dev
	$(OLDEST)/bin/python -m pytest $(PARALLEL)

# The same tests with the maintained family in place of mmengine and mmsegmentation. It needs Python 3.10.
test-onedl: $(ONEDL)/.dev
	$(ONEDL)/bin/python -m pytest $(PARALLEL)

lint: $(DEV)
	$(BIN)/ruff check .

type: $(DEV)
	$(BIN)/mypy

check: lint type test

docs: $(DEV)
	$(BIN)/mkdocs build --strict --config-file .mkdocs.yml
	@echo "The site: $(CURDIR)/build/site/index.html; with search: $(BIN)/python -m http.server --directory build/site"

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

$(RUNTIME): requirements.txt setup.py | $(BIN)/python
	$(BIN)/python -m pip install --only-binary :all: -r requirements.txt
	$(BIN)/python -m pip install --no-deps -e .
	touch $@

$(DEV): requirements-dev.txt $(RUNTIME)
	$(BIN)/python -m pip install --only-binary :all: -r requirements-dev.txt
	touch $@

$(OLDEST)/bin/python:
	$(PYTHON_OLDEST) -m venv $(OLDEST)

$(OLDEST)/.dev: requirements.txt requirements-dev.txt tests/constraints-oldest.txt setup.py | $(OLDEST)/bin/python
	$(OLDEST)/bin/python -m pip install --only-binary :all: -c tests/constraints-oldest.txt -r requirements.txt -r requirements-dev.txt
	$(OLDEST)/bin/python -m pip install --no-deps -e .
	touch $@

$(ONEDL)/bin/python:
	$(PYTHON) -m venv $(ONEDL)

# mmcv-lite requires the distribution mmengine, so pip installs it, too. onedl-mmsegmentation is pure Python without a wheel.
$(ONEDL)/.dev: requirements.txt requirements-dev.txt setup.py | $(ONEDL)/bin/python
	$(ONEDL)/bin/python -m pip install --only-binary :all: -r requirements.txt -r requirements-dev.txt
	$(ONEDL)/bin/python -m pip uninstall --yes mmengine mmsegmentation
	$(ONEDL)/bin/python -m pip install --only-binary :all: --no-binary onedl-mmsegmentation \
		'onedl-mmengine>=0.10.12,<0.12' 'onedl-mmsegmentation>=1.4.2,<1.5'
	$(ONEDL)/bin/python -m pip install --no-deps -e .
	touch $@

clean:
	rm -rf $(VENV) $(OLDEST) $(ONEDL) build work_dirs
