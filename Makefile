# Every command works from a fresh clone; all it needs is make and one Python that the chosen Airflow supports.

NEWEST := 3.3
AIRFLOWS := $(patsubst constraints/airflow-%.txt,%,$(wildcard constraints/airflow-*.txt))
AIRFLOW ?= $(NEWEST)
PYTHON ?=
TESTS := tests/unit tests/contract tests/integration
ARGS ?=

ifeq ($(filter $(AIRFLOW),$(AIRFLOWS)),)
$(error AIRFLOW=$(AIRFLOW) is not known; there is $(sort $(AIRFLOWS)))
endif

VENV := .venv-$(AIRFLOW)$(PYTHON:%=-py%)
LINT_VENV := .venv-lint
DOCS_VENV := .venv-docs
BENCH_VENV := .venv-bench
# EXECUTOR=CeleryExecutor runs the newest Airflow as large teams do.
EXECUTOR ?= LocalExecutor
E2E_GROUP := $(if $(filter CeleryExecutor,$(EXECUTOR)),celery,e2e)
E2E_VENV := .venv-$(E2E_GROUP)-$(AIRFLOW)$(PYTHON:%=-py%)
COVERAGE := --cov --cov-branch --cov-report=term-missing:skip-covered
# The floor holds where everything runs: on the newest Airflow, and when no one has narrowed TESTS.
ifeq ($(AIRFLOW) $(origin TESTS),$(NEWEST) file)
COVERAGE += --cov-fail-under=95
endif

.DEFAULT_GOAL := help
.PHONY: help demo test lint format docs e2e bench matrix environment constraints clean

help: ## Show this text
	@echo 'make TARGET [AIRFLOW=$(NEWEST)] [PYTHON=3.12]'
	@sed -n 's/^\([a-z0-9]*\):.*## /  \1\t/p' $(MAKEFILE_LIST) | expand -t 16
	@echo 'AIRFLOW is one of: $(sort $(AIRFLOWS)); a full version means the dependencies of its release day.'

demo: $(VENV)/.stamp ## See a real Airflow cancel runs: on a local server, or RUN_IDS=run_a,run_b on yours
	@$(VENV)/bin/python demo/demo.py

test: $(VENV)/.stamp ## Run all tests but those of a whole Airflow (TESTS=tests/unit ARGS=-x narrow it down)
	$(VENV)/bin/python -m pytest $(COVERAGE) $(TESTS) $(ARGS)

lint: $(LINT_VENV)/.stamp ## Check style, format and types
	$(LINT_VENV)/bin/ruff check .
	$(LINT_VENV)/bin/ruff format --check .
	$(LINT_VENV)/bin/mypy

format: $(LINT_VENV)/.stamp ## Mend style and format
	$(LINT_VENV)/bin/ruff check --fix .
	$(LINT_VENV)/bin/ruff format .

docs: $(DOCS_VENV)/.stamp ## Build the documentation into docs/_build/html; a warning is an error
	$(DOCS_VENV)/bin/sphinx-build -M html docs docs/_build --quiet --fail-on-warning --keep-going

e2e: $(E2E_VENV)/.stamp ## Run the tests of a whole Airflow of real processes (EXECUTOR=CeleryExecutor too)
	E2E_EXECUTOR=$(EXECUTOR) $(E2E_VENV)/bin/python -m pytest tests/e2e $(ARGS)

bench: $(BENCH_VENV)/.stamp ## Measure, and write docs/benchmarks.md (ARGS=rate_limit measures that alone)
	$(BENCH_VENV)/bin/python benchmarks/bench.py $(ARGS)

matrix: ## Run the tests on every Airflow and Python that we support, and show all results
	@MAKE='$(MAKE)' scripts/matrix.sh $(sort $(AIRFLOWS))

environment: $(VENV)/.stamp ## Make the virtual environment that demo and test use, and no more

constraints: $(VENV)/.stamp ## Write constraints/ anew, with the versions of today (for maintainers)
	scripts/constraints.sh .tools/bin/uv

clean: ## Remove what these commands made
	rm -rf .venv-* .tools .demo docs/_build .coverage .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -not -path './.git/*' -prune -exec rm -rf {} +

INSTALLERS := constraints/build.txt constraints/uv.txt scripts/venv.sh scripts/pythons.sh

$(VENV)/.stamp: pyproject.toml constraints/airflow-$(AIRFLOW).txt $(INSTALLERS)
	@scripts/venv.sh $(VENV) $(AIRFLOW) '$(PYTHON)'

$(LINT_VENV)/.stamp: pyproject.toml constraints/airflow-$(NEWEST).txt constraints/lint.txt $(INSTALLERS)
	@scripts/venv.sh $(LINT_VENV) $(NEWEST) '' lint

$(BENCH_VENV)/.stamp: pyproject.toml constraints/airflow-$(NEWEST).txt constraints/bench.txt $(INSTALLERS)
	@scripts/venv.sh $(BENCH_VENV) $(NEWEST) '' bench

$(E2E_VENV)/.stamp: pyproject.toml constraints/airflow-$(AIRFLOW).txt constraints/$(E2E_GROUP).txt $(INSTALLERS)
	@scripts/venv.sh $(E2E_VENV) $(AIRFLOW) '$(PYTHON)' $(E2E_GROUP)

$(DOCS_VENV)/.stamp: pyproject.toml constraints/airflow-$(NEWEST).txt constraints/docs.txt $(INSTALLERS)
	@scripts/venv.sh $(DOCS_VENV) $(NEWEST) '' docs
