# Everything happens in .venv; nothing is installed on the machine.
SHELL := /bin/bash
PYTHON ?= python3
VENV := .venv
UV := $(VENV)/bin/uv
STAMP := $(VENV)/.synced

.PHONY: setup demo test test-slow lint bench wheel lock clean

setup: $(STAMP)

$(UV):
	$(PYTHON) -m venv $(VENV)
	$(VENV)/bin/pip install --quiet --disable-pip-version-check --only-binary :all: uv

$(STAMP): requirements-dev.lock pyproject.toml | $(UV)
	VIRTUAL_ENV=$(VENV) $(UV) pip sync --quiet --require-hashes --only-binary :all: requirements-dev.lock
	VIRTUAL_ENV=$(VENV) $(UV) pip install --quiet --no-deps --no-build-isolation --editable .
	touch $@

demo: setup
	$(VENV)/bin/sealstat demo

test: setup
	$(VENV)/bin/python -m pytest -n 2 -m "not slow"

test-slow: setup
	$(VENV)/bin/python -m pytest -n 2 -m slow

lint: setup
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy
	$(VENV)/bin/lint-imports

bench: setup
	$(VENV)/bin/python bench/visitors.py

# The same bytes wherever it is built (tests/unit/test_builds.py): an environment's SOURCE_DATE_EPOCH would go into it.
wheel: setup
	env -u SOURCE_DATE_EPOCH $(VENV)/bin/python -m hatchling build -t wheel
	sha256sum dist/*.whl
	$(VENV)/bin/sealstat measure .

lock: $(UV)
	$(UV) pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header --only-binary :all: src/sealstat/enclave/requirements.in -o src/sealstat/enclave/requirements.lock
	$(UV) pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header --only-binary :all: -c src/sealstat/enclave/requirements.lock requirements.in -o requirements.lock
	$(UV) pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header --only-binary :all: -c requirements.lock requirements-dev.in -o requirements-dev.lock

clean:
	rm -rf $(VENV) demo-out
