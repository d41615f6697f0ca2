# Every target sets up what it needs in .venv; the second time it starts at once.
# stdout belongs to the program that is run: set-up talks on stderr.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
# Further extras of pyproject.toml for `make venv`, such as EXTRAS='fast parquet'.
EXTRAS ?=
# What is installed, each more than the one before: what the demo needs, what every command needs (Optuna, for `replay tune`), what the tests
# need, what the benchmarks need (numba). Each extra that is asked for leaves a stamp of its own.
RUN    := $(VENV)/.installed-run
ALL    := $(VENV)/.installed-commands
MORE   := $(patsubst %,$(VENV)/.installed-commands-%,$(filter-out tune,$(sort $(EXTRAS))))
DEV    := $(VENV)/.installed-dev
FAST   := $(VENV)/.installed-fast
INPUTS := pyproject.toml requirements.lock deploy/locked_requirements.py

# A misspelt extra is told before anything is made.
ifneq ($(filter venv,$(MAKECMDGOALS)),)
KNOWN   := $(shell sed -n '/^\[project.optional-dependencies\]/,/^$$/s/^\([a-z0-9-]*\) = .*/\1/p' pyproject.toml)
UNKNOWN := $(filter-out $(KNOWN),$(EXTRAS))
$(if $(UNKNOWN),$(error EXTRAS='$(EXTRAS)': there is no extra $(UNKNOWN); there are $(KNOWN). Nothing was installed))
endif

# One set-up at a time in one .venv, also under make -j.
.NOTPARALLEL:

.PHONY: demo venv test test-long lint check bench realparts lock clean

# Every hash of the lock is checked. An editable project has none, so it comes after what it needs, and brings nothing along.
# $(1): what deploy/locked_requirements.py is asked for; $(2): why, for people; $(3): the stamps of all that is there then.
define install
	@echo "Installing what $(2) …" >&2
	@$(BIN)/python deploy/locked_requirements.py . hatchling editables $(1) > $(VENV)/requirements.in
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r $(VENV)/requirements.in >&2
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e . >&2
	@touch $(3)
endef

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 11) else "Python 3.11 or later is needed; this is " + sys.version.split()[0] + ". Name another one: make PYTHON=python3.12")' >&2
	@echo "Setting up $(VENV) (once, a minute or two) …" >&2
	@$(PYTHON) -m venv $(VENV) >&2 || { rm -rf $(VENV); exit 1; }

$(RUN): $(INPUTS) | $(BIN)/python
	$(call install,,the programs need,$(RUN))

$(ALL): $(INPUTS) | $(BIN)/python
	$(call install,tune,every command needs,$(ALL) $(RUN))

$(VENV)/.installed-commands-%: $(INPUTS) | $(BIN)/python
	$(call install,tune $*,every command and the extra $* need,$@ $(ALL) $(RUN))

$(DEV): $(INPUTS) | $(BIN)/python
	$(call install,dev,the tests need,$(DEV) $(ALL) $(RUN))

$(FAST): $(INPUTS) | $(BIN)/python
	$(call install,dev fast,the benchmarks need,$(FAST) $(DEV) $(ALL)-fast $(ALL) $(RUN))

# The programs autoscaler and replay in .venv/bin, with what each of their commands needs; make venv EXTRAS=fast adds numba (200 MB).
venv: $(or $(MORE),$(ALL))

demo: $(RUN)
	@$(BIN)/autoscaler demo $(DEMO_ARGS)

# The whole suite in two workers: the stories in one, which waits most of the time, and all else where there is time (tests/conftest.py).
test: $(DEV)
	@$(BIN)/python -m pytest $(or $(ARGS),-n 2 --dist loadscope)

# What the suite above skips: what takes minutes, and what needs the extra `fast`.
test-long: $(FAST)
	@$(BIN)/python -m pytest -m long tests/replay/test_known_answers.py
	@$(BIN)/python -m pytest tests/replay/test_optimum.py tests/replay/test_optimum_exhaustive.py tests/replay/test_requests_kernel.py \
		tests/replay/test_requests_plant.py tests/replay/test_requests_queueing.py

lint: $(DEV)
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports

check: lint test

bench: $(FAST)
	@$(BIN)/python -m tests.benchmarks $(BENCH)

realparts: $(DEV)
	@$(BIN)/python tests/realparts/build.py

# For maintainers: needs uv. No URLs, hashes for every platform.
lock:
	uv pip compile --quiet --universal --generate-hashes --python-version 3.11 --no-emit-index-url --no-header pyproject.toml --all-extras -o requirements.lock

clean:
	rm -rf $(VENV) build .mypy_cache .ruff_cache .pytest_cache .hypothesis
