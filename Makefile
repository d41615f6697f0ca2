# Every target sets up what it needs in .venv; the second time it starts at once.
# stdout belongs to the program that is run: set-up talks on stderr.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.installed
FAST   := $(VENV)/.installed-fast

.PHONY: demo test lint check bench realparts lock clean

# Every hash of the lock is checked. An editable project has none, so it comes after what it needs, and brings nothing along.
define install
	@$(BIN)/python deploy/locked_requirements.py . $(1) > $(VENV)/requirements.in
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r $(VENV)/requirements.in >&2
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e . >&2
	@touch $(2)
endef

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 11) else "Python 3.11 or later is needed; this is " + sys.version.split()[0] + ". Name another one: make PYTHON=python3.12")' >&2
	@echo "Setting up $(VENV) (once, about a minute) …" >&2
	@$(PYTHON) -m venv $(VENV) >&2 || { rm -rf $(VENV); exit 1; }

$(STAMP): pyproject.toml requirements.lock deploy/locked_requirements.py | $(BIN)/python
	$(call install,dev,$@)

$(FAST): $(STAMP)
	$(call install,dev fast,$@)

demo: $(STAMP)
	@$(BIN)/autoscaler demo $(DEMO_ARGS)

test: $(STAMP)
	@$(BIN)/python -m pytest $(ARGS)

lint: $(STAMP)
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports

check: lint test

bench: $(FAST)
	@$(BIN)/python -m tests.benchmarks $(BENCH)

realparts: $(STAMP)
	@$(BIN)/python tests/realparts/build.py

# For maintainers: needs uv. No URLs, hashes for every platform.
lock:
	uv pip compile --quiet --universal --generate-hashes --python-version 3.11 --no-emit-index-url --no-header pyproject.toml --all-extras -o requirements.lock

clean:
	rm -rf $(VENV) build .mypy_cache .ruff_cache .pytest_cache .hypothesis
