# The only commands to know: make quickstart, make test, make lint, make fmt, make bench.
# Each makes its own environment in .venv; nothing is needed by hand but python3 (3.10 or newer).
PYTHON ?= python3
BIN := .venv/bin
SEED ?= 0
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check --no-compile
INSTALL := $(PIP) -c constraints.txt -e

# Byte code is written by what is imported, not by pip for all there is; without any, each of the
# many processes of the tests would compile torch and sympy for itself.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: quickstart quickstart-teacher test test-exhaustive lint fmt bench clean

.venv/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' \
	  || { echo "trace-distill needs Python 3.10 or newer; set PYTHON=python3.x"; exit 1; }
	$(PYTHON) -m venv .venv
	$(PIP) 'pip>=25.1'  # an older one takes twice the time

.venv/.installed: .venv/bin/python pyproject.toml constraints.txt
	$(INSTALL) '.[train]'
	@touch $@

.venv/.installed-test: .venv/bin/python pyproject.toml constraints.txt
	$(INSTALL) '.[train,test]'
	@touch .venv/.installed $@

quickstart: .venv/.installed
	$(BIN)/distill run quickstart --seed $(SEED) --run-dir runs/quickstart-$(SEED)

# Train the quickstart's teacher again from the solver's worked steps, and put its adapter in place.
quickstart-teacher: .venv/.installed
	$(BIN)/distill run recipes/quickstart/teacher.yaml --run-dir runs/quickstart-teacher
	$(BIN)/python -m distill.training.pack runs/quickstart-teacher/train/student/adapter recipes/quickstart/teacher

test: .venv/.installed-test
	@$(MAKE) --no-print-directory --output-sync -j 2 lint .venv/.bytecode .venv/.loops
	$(BIN)/python -m pytest -q -n 2 --dist worksteal

# Beside the linters, which leave a core idle: byte code and the compiled loops of curation, which
# the two test processes would else each make for themselves. What fails here fails again below.
QUIETLY := $(BIN)/python -m pytest -p no:terminal -o addopts=--import-mode=importlib

.venv/.bytecode: .venv/.installed-test
	-@$(QUIETLY) --collect-only
	@touch $@

.venv/.loops: .venv/.installed-test
	-@$(QUIETLY) $(addprefix tests/traces/curate/test_,decide.py dedup.py diverse.py scan.py)
	@touch $@

# What CI has no time for: all kernels for all architectures, 10,000 hostile answers, Ray, two ranks.
test-exhaustive: .venv/.installed-test
	$(INSTALL) '.[train,test,scale]'
	$(BIN)/python -m pytest -q -n 2 --dist worksteal -m exhaustive

lint: .venv/.installed-test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

fmt: .venv/.installed-test
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: .venv/.installed
	$(BIN)/python benchmarks/losses.py --device cpu

clean:
	rm -rf .venv build dist *.egg-info .mypy_cache .pytest_cache .ruff_cache
