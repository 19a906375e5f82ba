# Everything runs in a virtual environment that the first target makes: .venv.
PYTHON ?= python3
VENV ?= .venv
BIN = $(VENV)/bin

# Two cores, two workers.
PYTEST = $(BIN)/python -m pytest -n 2 --dist loadfile
# What is edited most, and whose tests take seconds. Not tests/models/test_models.py, which asks
# everything of every model.
QUICK = tests/core tests/models/test_recurrent.py tests/models/test_golden.py \
	tests/data/test_windows.py tests/run/test_replicas.py tests/train/test_optimizer.py
# What computes, not what asks only that a task runs.
NUMBERS = tests/core tests/models tests/train \
	$(patsubst %,tests/tasks/test_%.py,cache_pass dynamic_pass lines)
# An older machine, to which XLA can be held on x86; --xla_cpu_max_isa=AVX2 is another one.
MACHINE ?= $(if $(filter x86_64 amd64,$(shell uname -m)),--xla_cpu_max_isa=SSE4_2)

.PHONY: run check test test-machines lint docs clean

# XLA on a CPU takes hundreds of MiB from the system in each step and gives them back. In huge pages
# that saves a tenth of a step, where the kernel has transparent huge pages at `madvise`. Only glibc
# (from 2.35 on) reads the variable.
HUGE_PAGES = GLIBC_TUNABLES=$${GLIBC_TUNABLES-glibc.malloc.hugetlb=1}

run: $(VENV)/.installed  ## Trains a small model on the built-in corpus, in minutes.
	$(HUGE_PAGES) $(BIN)/python -m awd_jax.main --config=configs/quickstart.py

check: $(VENV)/.installed lint  ## Lint, types, and the tests of what is edited most: some minutes.
	$(PYTEST) $(QUICK)

test: $(VENV)/.installed lint  ## Lint, types, and the whole suite.
	$(PYTEST)

test-machines: $(VENV)/.installed  ## What computes, as on an older CPU with other threads.
	XLA_FLAGS="$$XLA_FLAGS $(MACHINE) --xla_cpu_multi_thread_eigen=false" PJRT_NPROC=16 \
		$(PYTEST) $(NUMBERS)

lint: $(VENV)/.installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# The theme warns of a mkdocs 2 that it does not take.
docs: $(VENV)/.docs  ## The site of docs/, in site/.
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

$(VENV)/.installed: requirements.txt pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[test]'
	touch $@

$(VENV)/.docs: $(VENV)/.installed
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[docs]'
	touch $@

clean:
	rm -rf $(VENV) build site *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
