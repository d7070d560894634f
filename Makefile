# Two commands do everything on a machine with Python 3.11 and make: `make demo` and `make test`.
PYTHON ?= python3.11
VENV   ?= .venv
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.installed

.PHONY: help demo test check bench format clean
help:
	@echo "make demo    set up, start everything, shadow two candidates, print both verdicts (KEEP=1 stays up)"
	@echo "make test    the tests"
	@echo "make check   lint, types, layers"
	@echo "make bench   the benchmarks (BENCH_JSON=FILE writes them as JSON)"

$(STAMP): pyproject.toml setup.py
	@command -v $(PYTHON) >/dev/null 2>&1 || { echo "shadowlane needs Python 3.11 or newer; name it: make PYTHON=python3.12 $(MAKECMDGOALS)" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --editable '.[dev]'
	@touch $@

demo: $(STAMP)
	$(BIN)/python examples/support_desk/demo.py $(if $(KEEP),--keep)

test: $(STAMP)
	$(BIN)/python -m pytest $(TESTS)

check: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/pyright
	$(BIN)/lint-imports

bench: $(STAMP)
	$(BIN)/python benchmarks/run.py $(if $(BENCH_JSON),--json $(BENCH_JSON))

format: $(STAMP)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:
	rm -rf $(VENV) build dist *.egg-info .demo
