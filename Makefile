# Every target sets up what it needs; a second call of the set-up costs nothing.
# Another Python: `make demo PYTHON=python3.12` (3.11 to 3.13). Without PYTHON an existing .venv is kept.
.DEFAULT_GOAL := help
SHELL := /bin/sh

VENV := .venv
BIN := $(VENV)/bin
STAMPS := $(VENV)/stamps
UV_VERSION := 0.13.8
SPARK_JARS := .cache/spark-jars
# sqlfluff has dbt compile the models, which opens a warehouse: an empty one, not the user's.
LINT_HOME := $(CURDIR)/.cache/lint
LINT_DBT := LEVAIN_HOME=$(LINT_HOME) DBT_TARGET_PATH=$(LINT_HOME)/target DBT_LOG_PATH=$(LINT_HOME)/logs

# An explicit PYTHON rules; else the .venv that is there; else python3.11, or the next newer one that works.
ifeq ($(origin PYTHON),undefined)
PYTHON := $(shell for p in $(BIN)/python python3.11 python3.12 python3.13; do \
	$$p -c '' 2>/dev/null && echo $$p && exit; done; echo python3.11)
endif
WANTED := $(shell $(PYTHON) -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null)
HAVE := $(shell $(BIN)/python -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null)

export DBT_PROFILES_DIR := $(CURDIR)/profiles
export DBT_SEND_ANONYMOUS_USAGE_STATS := false
export DO_NOT_TRACK := 1

LEVAIN := $(BIN)/levain

.PHONY: help setup setup-dev setup-learning spark-jars demo start stop init producers batch-etl show-data docs clean test test-full \
	lint requirements rebuild-venv

help: ## these lines
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-14s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: $(STAMPS)/runtime ## the environment only (every other target calls it)

# A .venv of another Python version (or a broken one) is rebuilt.
ifneq ($(WANTED),$(HAVE))
$(STAMPS)/venv: rebuild-venv
endif
$(STAMPS)/venv:
	@case "$(WANTED)" in \
	  3.11|3.12|3.13) ;; \
	  "") echo "$(PYTHON) was not found or does not start; Levain needs Python 3.11, 3.12 or 3.13."; \
	    echo "Install one of them, or name yours: make $(MAKECMDGOALS) PYTHON=python3.12"; exit 1 ;; \
	  *) echo "$(PYTHON) is Python $(WANTED); Levain needs 3.11, 3.12 or 3.13."; \
	    echo "Install one of them, or name yours: make $(MAKECMDGOALS) PYTHON=python3.12"; exit 1 ;; \
	esac
	@if [ "$(WANTED)" != "$(HAVE)" ]; then \
	  echo "Making $(VENV) with Python $(WANTED)"; \
	  $(PYTHON) -m venv --clear $(VENV) || { \
	    echo "$(PYTHON) cannot make a virtual environment."; \
	    echo "On Debian and Ubuntu: apt-get install python$(WANTED)-venv"; exit 1; }; \
	fi
	@$(BIN)/uv --version 2>/dev/null | grep -q "^uv $(UV_VERSION)" || \
	  $(BIN)/python -m pip install --quiet --disable-pip-version-check uv==$(UV_VERSION)
	@mkdir -p $(STAMPS) && touch $@

$(STAMPS)/runtime: $(STAMPS)/venv requirements/runtime.txt pyproject.toml
	@echo "Installing what Levain runs on"
	@$(BIN)/uv pip install --quiet --python $(BIN)/python --require-hashes -r requirements/runtime.txt
	@$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation -e .
	@$(BIN)/python -c "import duckdb; from levain.warehouse.bronze import load_extensions; load_extensions(duckdb.connect())"
	@touch $@

# Bytecode is compiled at once: the tests start hundreds of Python processes, some without the right to keep theirs.
setup-dev: $(STAMPS)/dev

$(STAMPS)/dev: $(STAMPS)/runtime requirements/spark.txt requirements/dev.txt
	@echo "Installing what the tests and the Spark target need"
	@$(BIN)/uv pip install --quiet --python $(BIN)/python --require-hashes \
	  -r requirements/runtime.txt -r requirements/spark.txt -r requirements/dev.txt
	@$(BIN)/python -m compileall -q -j 0 "$$($(BIN)/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')" ingest levain
	@touch $@

setup-learning: $(STAMPS)/learning ## what forecasts and scores need, in the same environment

$(STAMPS)/learning: $(STAMPS)/runtime requirements/learning.txt
	@echo "Installing what forecasts and scores need"
	@$(BIN)/uv pip install --quiet --python $(BIN)/python --require-hashes \
	  -r requirements/runtime.txt -r requirements/learning.txt
	@touch $@

spark-jars: $(SPARK_JARS)/.fetched

# Maven needs the JDK that Spark needs: the first line says how to get one if there is none.
$(SPARK_JARS)/.fetched: profiles/spark/pom.xml $(STAMPS)/runtime
	@$(BIN)/python -m levain.warehouse.spark > /dev/null
	@command -v mvn > /dev/null || { echo "Maven was not found; it fetches the Spark jars."; \
	  echo "Install it: apt-get install maven, or brew install maven"; exit 1; }
	@echo "Fetching the Spark jars"
	@JAVA_HOME="$$($(BIN)/python -m levain.warehouse.spark)" mvn -B -q -ntp -f profiles/spark/pom.xml \
	  dependency:copy-dependencies -DoutputDirectory=$(CURDIR)/$(SPARK_JARS) -DincludeScope=runtime
	@touch $@

demo: setup ## embedded broker, worker, sample events, build, the numbers; leaves nothing running
	@$(LEVAIN) demo

start: setup ## start the stack
	@$(LEVAIN) up

stop: setup ## stop the stack
	@$(LEVAIN) down

init: setup ## topics and tables
	@$(LEVAIN) init

producers: setup ## sample events (options: ARGS="--events 5000 --faults storm")
	@$(LEVAIN) produce $(ARGS)

batch-etl: setup ## Bronze to Silver to Gold, with tests (options: ARGS="--audit")
	@$(LEVAIN) build $(ARGS)

show-data: setup ## row counts, verdicts, freshness
	@$(LEVAIN) show

docs: setup ## dbt docs with column lineage, served
	@$(LEVAIN) docs

clean: setup ## remove all state (asks first; ARGS=--yes does not)
	@$(LEVAIN) clean $(ARGS)

# Modules of tests, four at a time, in the order of conftest.py: on two cores two of them wait for Kafka or for a process.
FOUR_AT_A_TIME := -n 4 --dist loadfile --no-loadscope-reorder

# A test that hangs where no exception reaches it ends its process, with the stacks of all threads.
ENDS_IF_IT_HANGS := -o faulthandler_timeout=1800 -o faulthandler_exit_on_timeout=true --max-worker-restart 0

PYTEST := JAVA_HOME="$$($(BIN)/python -m levain.warehouse.spark)" $(BIN)/python -m pytest

test: setup-dev spark-jars ## the tests, on both engines
	@$(PYTEST) $(FOUR_AT_A_TIME) $(ENDS_IF_IT_HANGS) -m "not slow and not full" $(ARGS)

test-full: setup-dev spark-jars ## all tests and the long runs
	@$(PYTEST) $(FOUR_AT_A_TIME) $(ARGS)

# A file of macros renders to nothing: sqlfluff sees its Jinja, line lengths and line ends there, but no SQL to indent.
# dbt-bouncer cuts what does not fit the terminal's width off its reasons, so it is given a wide one.
lint: setup-dev ## ruff, mypy, portability, generated files, dbt-bouncer, sqlfluff
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/python -m levain.dev.portability
	@$(LEVAIN) generate --check
	@mkdir -p $(LINT_HOME)
	@$(LINT_DBT) $(BIN)/dbt --quiet parse
	@COLUMNS=240 $(BIN)/dbt-bouncer run
	@$(BIN)/sqlfluff lint --disable-progress-bar --templater jinja --exclude-rules layout.indent macros
	@$(LINT_DBT) $(BIN)/sqlfluff lint --disable-progress-bar --processes 2 models snapshots tests

requirements: setup ## recompile requirements/*.in
	@for name in runtime spark learning dev expectations; do \
	  $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header \
	    requirements/$$name.in -o requirements/$$name.txt || exit 1; done

# Benchmarks and long runs, where there are any.
-include bench/bench.mk tests/tests.mk
