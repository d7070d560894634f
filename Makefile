# Two commands do everything on a machine with Python 3.11 and make: `make demo` and `make test`.
# The oldest that is there and new enough: what the tests run on most.
PYTHON ?= $(firstword $(foreach p,python3.11 python3.12 python3.13 python3.14 python3,$(if $(shell command -v $(p)),$(p))))
VENV   ?= .venv
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.installed

.PHONY: help demo test slow clients check faults soak bench redaction format clean
help:
	@echo "make demo    set up, start everything, walk one candidate to 100%, roll the other one back (KEEP=1 stays up)"
	@echo "make test    the tests, on the embedded servers and on Apache Kafka (TESTS=tests/contract runs a part)"
	@echo "make slow    the tests that take half a minute or more each, which make test leaves out"
	@echo "make clients the real clients and the examples, each in an environment of its own, with the mirror and without"
	@echo "make check   lint, types, layers"
	@echo "make faults  every fault on the running system, what is promised and what is seen (BROKER=embedded|kafka|both)"
	@echo "make soak    half an hour at a steady rate with faults sprinkled in (SOAK_MINUTES=30, SOAK_RATE=20, BROKER=kafka)"
	@echo "make redaction  what redaction finds of the planted secrets, into docs/redaction.md"
	@echo "make bench   the benchmarks (BENCH_JSON=FILE writes them as JSON)"

$(STAMP): pyproject.toml setup.py
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
		echo "shadowlane needs Python 3.11 or newer; name it: make PYTHON=/path/to/python3.12 $(MAKECMDGOALS)" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	@echo "setting up $(VENV): about a minute, once"
	@# setuptools warns of every editable install; nothing here to act on
	@PYTHONWARNINGS=ignore $(BIN)/python -m pip install --quiet --editable '.[dev]'
	@touch $@

demo: $(STAMP)
	$(BIN)/python examples/support_desk/demo.py $(if $(KEEP),--keep)

# All tests run in several processes, file by file, each process with servers of its own. More than there are cores on a
# small machine, since tests wait a lot.
WORKERS ?= 4
SIDE_BY_SIDE := --numprocesses $(WORKERS) --dist loadfile --no-loadscope-reorder
test: $(STAMP)
	$(BIN)/python -m pytest $(or $(TESTS),-m "not slow" $(SIDE_BY_SIDE))

slow: $(STAMP)
	$(BIN)/python -m pytest -m slow $(SIDE_BY_SIDE)

# Real clients conflict with each other (litellm needs an older openai), so each has an environment of its own: they and
# what shadowlane itself needs. PyPI is asked once for each.
CLIENTS := $(patsubst tests/clients/requirements/%.txt,%,$(wildcard tests/clients/requirements/*.txt))
CLIENT_ENVS := $(CLIENTS:%=.venv-clients/%/.installed)
.venv-clients/%/.installed: tests/clients/requirements/%.txt
	$(PYTHON) -m venv $(@D)
	$(@D)/bin/python -m pip install --quiet --requirement $<
	@touch $@

clients: $(STAMP) $(CLIENT_ENVS)
	SHADOWLANE_CLIENTS=$(CURDIR)/.venv-clients $(BIN)/python -m pytest tests/clients --numprocesses 2

check: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/pyright --pythonpath $(BIN)/python
	$(BIN)/lint-imports

faults: $(STAMP)
	$(BIN)/python -m faults --broker $(or $(BROKER),both) $(if $(ONLY),--only $(ONLY)) \
		$(if $(FAULTS_JSON),--json $(FAULTS_JSON)) $(if $(FAULTS_DOCS),--docs $(FAULTS_DOCS))

# What is measured beside pairing, in a venv of its own: it needs an older confluent-kafka.
PEERS := .venv-peers
$(PEERS)/.installed: benchmarks/requirements-peers.txt
	$(PYTHON) -m venv $(PEERS)
	$(PEERS)/bin/python -m pip install --quiet --requirement $<
	@touch $@

# What captures a client's calls, for benchmarks/captures: each in a venv of its own, or left out where it can't be had.
CAPTURES := $(patsubst benchmarks/capturing/requirements/%.txt,%,$(wildcard benchmarks/capturing/requirements/*.txt))
CAPTURE_ENVS := $(CAPTURES:%=.venv-captures/%/.tried)
.venv-captures/%/.tried: benchmarks/capturing/requirements/%.txt
	$(PYTHON) -m venv $(@D)
	-$(@D)/bin/python -m pip install --quiet --requirement $< && touch $(@D)/.installed
	@touch $@

bench: $(STAMP) $(PEERS)/.installed $(CAPTURE_ENVS)
	BENCH_PEERS=$(PEERS)/bin/python BENCH_CAPTURES=.venv-captures $(BIN)/python benchmarks/run.py $(if $(BENCH_JSON),--json $(BENCH_JSON))

redaction: $(STAMP)
	$(BIN)/python -m benchmarks.redaction --docs

format: $(STAMP)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:
	rm -rf $(VENV) $(PEERS) .venv-captures .venv-clients build dist *.egg-info .demo
