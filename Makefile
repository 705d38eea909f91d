# Everything sets itself up: a virtual environment in .venv from the locked requirements.
#   make demo    run the default day            make test    the test suite; make test-all: slow cases too
#   make mutants whether the tests notice wrong lines, minutes; with NAME=... one of them
#   make golden  what differs from the golden outputs; with WRITE=1 they are renewed
#   make lint    style, rooms                   make types   static types
#   make test-next  the engine's tests with the coming OpenDSSDirect 0.10
#   make bench   speed against references       make lock    renew requirements.lock (needs uv)
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin

.PHONY: demo test test-all test-next mutants golden lint types bench lock wheels clean

demo: $(VENV)/ready
	$(BIN)/cosim run

test: $(VENV)/ready
	$(BIN)/python -m pytest

test-all: $(VENV)/ready
	$(BIN)/python -m pytest -m ""

# Beside the locked packages, whose own OpenDSSDirect it hides. Left out: a file by which the beta's XYCurve crashes.
NEXT_ENGINE ?= opendssdirect.py==0.10.0b2
LIBRARY := import sysconfig; print(sysconfig.get_path("purelib"))
test-next: $(VENV)/ready
	$(PYTHON) -m venv $(VENV)-next
	echo "import site; site.addsitedir('$$($(BIN)/python -c '$(LIBRARY)')')" > "$$($(VENV)-next/bin/python -c '$(LIBRARY)')/locked.pth"
	$(VENV)-next/bin/python -m pip install --quiet --disable-pip-version-check --pre --only-binary :all: "$(NEXT_ENGINE)"
	$(VENV)-next/bin/python -m pytest -W ignore::DeprecationWarning tests/validation tests/unit/test_opendss.py \
	  tests/unit/test_dss_trial.py tests/unit/test_dss_files.py tests/unit/test_read_feeder.py tests/unit/test_loop.py \
	  --deselect tests/unit/test_dss_files.py::test_the_files_of_a_nested_feeder

mutants: $(VENV)/ready
	$(BIN)/python -m tests.mutants $(NAME)

golden: $(VENV)/ready
	$(BIN)/python -m tests.golden $(if $(WRITE),--write)

lint: $(VENV)/ready
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports --no-cache

types: $(VENV)/ready
	$(BIN)/mypy

bench: $(VENV)/ready
	$(BIN)/cosim bench step
	$(BIN)/cosim bench pareto

$(VENV)/ready: requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; v = sys.version_info[:2]; sys.exit(0 if (3, 11) <= v <= (3, 13) else f"Python 3.11, 3.12 or 3.13 is needed, $(PYTHON) is {v[0]}.{v[1]}: say make PYTHON=python3.12 ...")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes --only-binary :all: -r requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

lock:
	uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --extra all --no-emit-index-url --no-header -o requirements.lock pyproject.toml

# Whether every requirement installs from wheels on every supported Python.
wheels:
	for v in 3.11 3.12 3.13; do uv pip compile --quiet --only-binary :all: --python-version $$v --extra all pyproject.toml > /dev/null && echo "wheels for $$v: yes" || exit 1; done

clean:
	rm -rf $(VENV) runs .pytest_cache .mypy_cache .ruff_cache .hypothesis dist
