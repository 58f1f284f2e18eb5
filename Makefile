# Everything runs in .venv, made by `make setup` with any Python 3.11+. `make` alone lists the targets.
.POSIX:
.DEFAULT_GOAL := help
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
PYTEST := $(BIN)/python -m pytest
MINUTES := 20

help: ## this list
	@grep -hE '^[a-z0-9-]+:.*##' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-18s %s\n", $$1, $$2}'

setup: $(STAMP) ## make .venv with triggerd, its extras and the development tools; again only when pyproject.toml changes

$(STAMP): pyproject.toml
	@for python in python3.13 python3.12 python3.11 python3; do \
	  if "$$python" -c 'import sys, venv; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then found=$$python; break; fi; \
	done; \
	if [ -z "$$found" ]; then echo "triggerd needs Python 3.11 or newer (python3.11 ... on PATH)" >&2; exit 1; fi; \
	test -x $(BIN)/python || "$$found" -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --upgrade 'pip>=25.1'
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[daemon,embedded]' --group dev
	@touch $(STAMP)

demo: setup ## a worker, a daemon and a resumer on an embedded Valkey and a moto AWS, about half a minute
	$(BIN)/python -m examples.demo

# Most tests wait, for a lease to end or a server to come back: four at a time keep two cores busy.
test: setup ## all tests, against real servers that they start themselves
	$(PYTEST) --numprocesses 4 --dist worksteal

test-unit: setup ## no socket, no sleep
	$(PYTEST) tests/unit

test-integration: setup ## real Redis and Valkey, moto, a fake AWS
	$(PYTEST) tests/integration

test-fault: setup ## real processes killed, stopped, cut off
	$(PYTEST) tests/fault

BENCHES := polls waits quota throughput latency recovery soak
# Peers have venvs of their own: arq holds redis-py below 6, Airflow brings two hundred packages along.
PEER_VENV := $(BIN)/python -m venv
PEER_PIP := bin/python -m pip install --quiet --disable-pip-version-check

bench: setup ## every benchmark at full size, about an hour (bench/README.md has the commands)
	@set -e; for bench in $(BENCHES); do echo "== $$bench"; $(BIN)/python -m bench.$$bench; done; \
	echo "== quota, half throttled"; $(BIN)/python -m bench.quota --throttled-half; \
	echo "== scripts"; $(BIN)/python -m bench.scripts

bench-peers: setup ## install arq and taskiq-redis beside triggerd, for bench.throughput to compare with
	$(PEER_VENV) .cache/bench-arq && .cache/bench-arq/$(PEER_PIP) arq hiredis uvloop
	$(PEER_VENV) .cache/bench-taskiq && .cache/bench-taskiq/$(PEER_PIP) taskiq-redis hiredis uvloop

bench-airflow: setup ## install Airflow beside triggerd, for bench.waits to compare with
	$(PEER_VENV) .cache/bench-airflow && \
	.cache/bench-airflow/$(PEER_PIP) apache-airflow 'apache-airflow-providers-amazon[aiobotocore]' uvloop

chaos: setup ## break everything at random for MINUTES (20), then say whether a trigger was lost or ended twice
	$(BIN)/python -m tests.chaos --minutes $(MINUTES)

# 5.0.1 is the oldest that pyproject.toml allows. In a folder of its own, so that .venv keeps the newest.
test-redis5: setup ## the streams, the SDK and the Resumer with the oldest redis-py that is supported
	@test -d .cache/redis-py-5/redis || \
	  $(BIN)/python -m pip install --quiet --disable-pip-version-check --target .cache/redis-py-5 'redis==5.0.1'
	PYTHONPATH="$$PWD/.cache/redis-py-5" $(BIN)/python -c 'import redis; assert redis.__version__ == "5.0.1", redis.__version__'
	PYTHONPATH="$$PWD/.cache/redis-py-5" $(PYTEST) tests/integration/test_trigger_queue.py \
	  tests/integration/test_client.py tests/integration/test_resumer.py tests/integration/test_main_path.py

lint: setup ## ruff: rules and format
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: setup ## mypy --strict
	$(BIN)/mypy

fmt: setup ## what ruff can mend by itself
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

wheel: setup ## dist/*.whl
	$(BIN)/python -m build --wheel

ci: ## what CI runs
	.ci/run

clean: ## remove what the other targets made
	rm -rf $(VENV) .cache build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis

.PHONY: help setup demo test test-unit test-integration test-fault bench bench-peers bench-airflow chaos test-redis5 lint types fmt wheel ci clean
