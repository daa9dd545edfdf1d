# Everything runs in .venv of this clone, from pinned versions; each target sets up what it needs, once.
#
#   make demo     search a small network on real data with Spark, retrain the winner, write the report
#   make test     lint, types, documentation, tests; those that depend on Spark again under 3.5
#   make help     the rest
#
# On a machine whose Python is not found: make PYTHON=/path/to/python3.11

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.ONESHELL:
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

VENV := .venv
BIN := $(VENV)/bin

# The demo: real digits, a few minutes on 2 cores.
DEMO_DATA := .data/digits
DEMO_CONF := conf/demo.yaml
DEMO_RUNS := runs
DEMO_ID := demo
DEMO_PREPARE := prepare-data digits --output $(DEMO_DATA) --if-missing
DEMO_SEARCH := search $(DEMO_CONF) --output $(DEMO_RUNS) --run-id $(DEMO_ID)
DEMO_RETRAIN := retrain $(DEMO_RUNS)/$(DEMO_ID)
DEMO_REPORT := report $(DEMO_RUNS)/$(DEMO_ID)

.PHONY: help demo test test-ready test-platforms test-all chaos check lint format docs test-spark35 setup setup-spark35 class-archives java wheel archive clean distclean

help: ## this list
	@grep -hE '^[a-z0-9-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z0-9-]+):.*## /\1\t/' | expand -t 16

demo: setup ## search, retrain and report on the digits
	@export JAVA_HOME; JAVA_HOME=$$(scripts/java)
	set -x
	$(BIN)/spark-nas $(DEMO_PREPARE)
	$(BIN)/spark-nas $(DEMO_SEARCH)
	$(BIN)/spark-nas $(DEMO_RETRAIN)
	$(BIN)/spark-nas $(DEMO_REPORT)

test: test-ready ## checks, documentation, all tests, those that depend on Spark again under 3.5
	@scripts/test

test-ready: setup # apart from the tests: under -n make runs the whole of a recipe that calls it
	@$(MAKE) --jobs=2 --output-sync check docs class-archives

chaos: setup ## kill drivers, executors and workers at random, over CHAOS_RUNS runs of each of five kinds (13)
	@CHAOS_RUNS=$${CHAOS_RUNS:-13} CHAOS_KILLS=$${CHAOS_KILLS:-3} scripts/test -s tests/chaos

test-platforms: setup ## the wheel and a short demo beside what platforms ship, on Spark 3.5, 4.0 and the newest; 10 minutes each
	@scripts/try-wheel $(notdir $(basename $(wildcard requirements/platforms/*.txt)))

test-all: export SPARK_NAS_EXHAUSTIVE := 1
test-all: test test-platforms chaos ## everything, for hours, with the tests marked exhaustive

check: setup ## lint, format and types
	@scripts/check

lint: check ## the same as check

format: setup ## rewrite the code in its one format
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

test-spark35: setup setup-spark35 ## the tests that depend on Spark, under Spark 3.5
	@scripts/test-spark35

setup: $(VENV)/.package java ## the environment in .venv, and a Java

setup-spark35: .spark35/.installed ## Spark 3.5 in .spark35, beside the installed one

class-archives: .classes/.spark .classes/.spark35 # with which the tests' JVMs are up sooner

.classes/.spark: scripts/class-archive tests/class_archive.py $(VENV)/.requirements | java
	@scripts/class-archive
	touch $@

.classes/.spark35: scripts/class-archive tests/class_archive.py .spark35/.installed
	@scripts/class-archive .spark35
	touch $@

java: $(VENV)/.requirements
	@scripts/java >/dev/null

# pip is quiet where nobody looks; on a terminal it shows what it fetches.
PIP := $(BIN)/python -m pip --disable-pip-version-check
QUIET := $$([ -t 2 ] || echo -qq)

$(BIN)/python:
	@python=$$(PYTHON="$(PYTHON)" scripts/python)
	echo "Making $(VENV) with $$($$python --version)"
	$$python -m venv $(VENV) || { rm -rf $(VENV); exit 1; } # half of one would pass for one the next time

$(VENV)/.requirements: requirements/base.txt | $(BIN)/python
	@echo "Installing the $$(grep -c == requirements/base.txt) pinned packages of requirements/base.txt into $(VENV); Spark and torch are large, this takes minutes"
	$(PIP) install $(QUIET) -r requirements/base.txt
	touch $@

$(VENV)/.package: setup.py pyproject.toml $(VENV)/.requirements
	@echo "Installing spark_nas itself, as the files of this clone"
	$(PIP) install $(QUIET) --no-deps --no-build-isolation --editable .
	touch $@

.spark35/.installed: requirements/spark35.txt $(VENV)/.requirements
	@echo "Installing Spark 3.5 into .spark35 (about 300 MB)"
	rm -rf .spark35
	$(PIP) install $(QUIET) --no-deps --target .spark35 -r requirements/spark35.txt
	touch $@

wheel: setup ## dist/spark_nas-*.whl, and the same as .zip for `spark-submit --py-files`
	@rm -rf build dist
	$(PIP) wheel $(QUIET) --no-deps --no-build-isolation --wheel-dir dist .
	for wheel in dist/*.whl; do cp "$$wheel" "$${wheel%-py3-none-any.whl}.zip"; done
	ls -1 dist

docs: $(VENV)/.package .docs/.installed ## the documentation's pages in docs/site; a warning is an error
	@rm -rf docs/site
	PYTHONPATH=.docs $(BIN)/python -m sphinx -q -E -W --keep-going -c docs -d .docs/read . docs/site
	echo "docs/site/index.html: $$(find docs/site -name '*.html' | wc -l) pages"

.docs/.installed: requirements/docs.txt $(VENV)/.requirements
	@echo "Installing the $$(grep -c == requirements/docs.txt) pinned packages of requirements/docs.txt into .docs"
	rm -rf .docs
	$(PIP) install $(QUIET) --no-deps --target .docs -r requirements/docs.txt
	touch $@

archive: ## dist/environment.tar.gz for `--archives`; CONSTRAINTS, EXTRAS, PREFIX and PYTHON as scripts/archive says
	@scripts/archive

clean: ## what the tools leave behind; data, runs and environments stay
	rm -rf build dist docs/site *.egg-info .coverage .coverage.* .pytest_cache .mypy_cache .ruff_cache .hypothesis spark-warehouse metastore_db derby.log
	find . -name __pycache__ -not -path './.venv/*' -not -path './.spark35/*' -not -path './.docs/*' -not -path './.java/*' -prune -exec rm -rf {} +

distclean: clean ## and the environments: .venv, .spark35, .docs, .java, .classes
	rm -rf .venv .spark35 .docs .java .classes
