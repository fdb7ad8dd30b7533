# The targets people need; `make help` lists them. Each sets up what it needs and reuses what is there.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin

.DEFAULT_GOAL := help
.PHONY: help demo test crash chaos check lint images bench pictures venv lock docs clean

help: ## List the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-8s %s\n", $$1, $$2}'

demo: venv ## Set everything up and play a class day in ./var; Ctrl-C ends it. ONCE=1: stop after the scores
	@$(BIN)/gpuclass demo $(if $(ONCE),--once)

test: venv ## Set everything up and run all tests
	@trap '$(BIN)/gpuclass engine release --hold $$$$' EXIT && $(BIN)/gpuclass setup --tests --hold $$$$ && $(MAKE) --no-print-directory lint && $(BIN)/pytest -n 2

crash: venv ## Kill the exchange 200 times under load, then look for every receipt; ten minutes. N=20: so often
	@GPUCLASS_CRASHES=$(or $(N),200) $(BIN)/pytest -q -s tests/exchange/test_crashes.py

chaos: venv ## Kill all that grades 120 times while 80 students hand in; half an hour. N=30: so often
	@GPUCLASS_KILLS=$(or $(N),120) GPUCLASS_KILLS_STUDENTS=80 GPUCLASS_EVERY=1 $(BIN)/pytest -q -s tests/kills

check: venv lint ## Static checks and the quick tests, without Docker; under a minute
	@$(BIN)/pytest -q -m 'not slow and not docker and not images and not browser'

lint: venv
	@$(BIN)/ruff check . && $(BIN)/ruff format --check . && $(BIN)/mypy

images: venv ## Build the container images that are missing or out of date
	@$(BIN)/gpuclass images build

bench: venv ## List the benchmarks; each prints a ratio against a stock set-up, measured in the same run
	@for file in benchmarks/*.py; do echo "$(BIN)/python $$file"; done

venv: $(VENV)/.ready ## Python packages from the hashed lock, in .venv

$(VENV)/.ready: requirements/dev.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Python 3.11 or newer is needed: make PYTHON=/path/to/python3.11 …"; exit 1; }
	@echo "Installing Python packages into $(VENV) (about a minute the first time)…"
	@$(PYTHON) -m venv $(VENV) || { echo "Python's venv module is missing: apt-get install python3-venv"; exit 1; }
	@$(BIN)/pip install --quiet --require-hashes -r requirements/dev.txt
	@$(BIN)/pip install --quiet --no-deps --no-build-isolation -e .
	@touch $@

docs: venv ## Write the reference pages that are made from code
	@$(BIN)/python -m gpuclass.reference

lock: ## Renew the lock files (needs uv)
	uv pip compile pyproject.toml --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header -q -o requirements/host.txt
	uv pip compile pyproject.toml --extra dev -c requirements/host.txt --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header -q -o requirements/dev.txt
	cd images/student && uv pip compile requirements.in -c ../../requirements/host.txt --override overrides.txt --python-version 3.13 --python-platform x86_64-unknown-linux-gnu --generate-hashes --no-emit-index-url --no-header -q -o requirements.txt
	cd benchmarks/stock && uv pip compile requirements.in --python-version 3.13 --python-platform x86_64-unknown-linux-gnu --generate-hashes --no-emit-index-url --no-header -q -o requirements.txt
	cd benchmarks/submitting && uv pip compile requirements.in --no-deps --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header -q -o requirements.txt

pictures: venv ## Take the pictures in README and docs anew
	@mkdir -p docs/pictures && GPUCLASS_PICTURES=docs/pictures $(BIN)/pytest -q tests/classroom/test_browser.py tests/queue/test_queue_pages.py tests/images/test_lab_page.py

clean: ## Remove what make built in this folder; ./var and the images stay
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis
