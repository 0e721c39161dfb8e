# run, test, check, bench: each sets up what it needs in .venv, with pip, from the lock files. install does no more than that.

PYTHON ?= python3
BIN := .venv/bin
# --no-compile: modules are compiled when first imported, which saves about 15 s of a first start.
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet install --no-compile
PROJECT := pyproject.toml rankers/pyproject.toml

.PHONY: install run test check bench load openapi client format lock clean
.DEFAULT_GOAL := run
# Without compiled modules each of our processes takes 5.5 s to start in place of 1.4.
unexport PYTHONDONTWRITEBYTECODE

install: .venv/.run

run: .venv/.run
	@exec $(BIN)/amity up

test: .venv/.dev .venv/.client
	$(BIN)/pytest -n auto --dist loadfile --no-loadscope-reorder $(ARGS)

check: .venv/.dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: .venv/.dev
	$(BIN)/python -m benchmarks.run $(ARGS)

# Traffic against a running service: make load ARGS="--headless --host http://127.0.0.1:8000 --run-time 60s"
load: .venv/.bench
	$(BIN)/locust -f benchmarks/locustfile.py $(ARGS)

# The document that /schema answers, as a file; a test holds it to the code.
openapi: .venv/.run
	@$(BIN)/python -m service.cli.document > openapi.json.new
	@mv openapi.json.new openapi.json

# A typed Python client of it, in build/amity-client: pip install build/amity-client
client: .venv/.client
	@PATH="$(CURDIR)/.venv/client/bin:$$PATH" openapi-python-client generate $(CLIENT)

CLIENT := --path openapi.json --output-path build/amity-client --overwrite --meta uv --fail-on-warning

format: .venv/.dev
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

.venv/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Amity needs Python 3.11 or later; name one with make PYTHON=/path/to/python3")'
	@echo "Creating .venv"
	@$(PYTHON) -m venv .venv

.venv/.run: requirements.lock $(PROJECT) | .venv/bin/python
	@echo "Installing Amity and its libraries (about a minute, once)"
	@$(PIP) --require-hashes -r requirements.lock
	@$(PIP) --no-deps --no-build-isolation -e rankers -e .
	@touch $@

.venv/.dev: requirements-dev.lock .venv/.run
	@echo "Installing the tools for tests and checks"
	@$(PIP) --require-hashes -r requirements-dev.lock
	@touch $@

# locust brings Flask and gevent, which nothing else here needs.
.venv/.bench: requirements-bench.lock .venv/.run
	@echo "Installing locust"
	@$(PIP) --require-hashes -r requirements-bench.lock
	@touch $@

# The generator wants an older typer than ours, so it has an environment of its own.
.venv/.client: requirements-client.lock | .venv/bin/python
	@echo "Installing the generator of clients"
	@$(PYTHON) -m venv .venv/client
	@.venv/client/bin/python -m pip --disable-pip-version-check --quiet install --no-compile --require-hashes -r requirements-client.lock
	@touch $@

# Needs `uv` on the PATH. The lock files name no index and hold the hashes of every platform's wheels.
lock:
	@printf './rankers\nhatchling\neditables\n' > .lock.in
	uv pip compile pyproject.toml .lock.in $(LOCK) -o requirements.lock
	uv pip compile pyproject.toml .lock.in --extra s3 -c requirements.lock $(LOCK) -o requirements-s3.lock
	uv pip compile pyproject.toml .lock.in --group dev -c requirements.lock $(LOCK) -o requirements-dev.lock
	uv pip compile pyproject.toml .lock.in --group bench -c requirements-dev.lock $(LOCK) -o requirements-bench.lock
	uv pip compile --group client $(LOCK) -o requirements-client.lock
	@rm .lock.in

LOCK := --quiet --universal --python-version 3.11 --generate-hashes --no-header --no-annotate --no-emit-package amity-rankers

clean:
	rm -rf .venv build dist .mypy_cache .pytest_cache .ruff_cache .hypothesis .import_linter_cache
