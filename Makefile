# Every command works from a fresh clone. It needs only make and a Python that the chosen Airflow supports.

NEWEST := 3.4
AIRFLOWS := $(patsubst constraints/airflow-%.txt,%,$(wildcard constraints/airflow-*.txt))
AIRFLOW ?= $(NEWEST)
PYTHON ?=
TESTS := tests/integration tests/world tests/simulation tests/contract tests/unit
# What does not depend on the version of Airflow: `make matrix` runs it once on each Python.
WITHOUT_AIRFLOW := $(addprefix tests/unit/,api cancel run testing) tests/contract tests/simulation
WITHOUT_AIRFLOW += $(wildcard $(addprefix tests/integration/test_,faults.py local_server*.py proxy_and_ca.py real.py)) \
	$(addprefix tests/integration/docs/test_,a_new_user.py commands.py)
# PARTS=airflow leaves these out.
PARTS ?= all
ARGS ?=

version = $(shell sed -n 's/^apache-airflow==//p' constraints/airflow-$(1).txt)
NAMES = $(foreach name,$(sort $(AIRFLOWS)),$(name) ($(call version,$(name))))

ifeq ($(filter $(AIRFLOW),$(AIRFLOWS)),)
$(error AIRFLOW=$(AIRFLOW) is not known. The names, with their full versions: $(NAMES))
endif

VENV := .venv-$(AIRFLOW)$(PYTHON:%=-py%)
LINT_VENV := .venv-lint
DOCS_VENV := .venv-docs
BENCH_VENV := .venv-bench
MUTANTS_VENV := .venv-mutants
PACKAGE_VENV := .venv-package
# EXECUTOR=CeleryExecutor runs the newest Airflow as large teams do.
EXECUTOR ?= LocalExecutor
E2E_GROUP := $(if $(filter CeleryExecutor,$(EXECUTOR)),celery,e2e)
E2E_VENV := .venv-$(E2E_GROUP)-$(AIRFLOW)$(PYTHON:%=-py%)
# How many processes run tests: more than processors, as some tests wait. 0 has all in one.
WORKERS ?= $(shell expr $$(getconf _NPROCESSORS_ONLN) + 2)

# Else each process that runs tests compiles all of them anew.
unexport PYTHONDONTWRITEBYTECODE

LEFT_OUT := $(if $(filter airflow,$(PARTS)),$(WITHOUT_AIRFLOW))

SDK := tests/contract/sdk
CHECK_FORM = $(LINT_VENV)/bin/check-jsonschema --quiet --builtin-schema vendor

.DEFAULT_GOAL := help
.PHONY: help demo test coverage lint format docs e2e bench sdk real matrix mutants simulate package release environment constraints clean

help: ## Show this text
	@echo 'make TARGET [AIRFLOW=$(NEWEST)] [PYTHON=3.12]'
	@sed -n 's/^\([a-z0-9]*\):.*## /  \1\t/p' $(MAKEFILE_LIST) | expand -t 16
	@echo 'AIRFLOW is a name of these: $(NAMES)'

demo: $(VENV)/.stamp ## Start, wait for and cancel runs from a real Airflow, on a local server; RUN_IDS=run_a,run_b cancels yours
	@$(VENV)/bin/python demo/demo.py

test: $(VENV)/.stamp ## Run all tests except tests/e2e (TESTS=tests/unit ARGS=-x for fewer)
	$(VENV)/bin/python -m pytest -n $(WORKERS) --dist loadscope $(filter-out $(LEFT_OUT),$(TESTS)) $(LEFT_OUT:%=--ignore=%) $(ARGS)

coverage: $(VENV)/.stamp ## Measure what all tests but those of tests/integration and tests/e2e cover
	$(VENV)/bin/python -m pytest --cov --cov-report=term-missing:skip-covered --cov-fail-under=98 -n $(WORKERS) --dist loadscope $(filter-out tests/integration,$(TESTS)) $(ARGS)

lint: $(LINT_VENV)/.stamp ## Check style, format and types, also of the tests; and spelling and workflows
	$(LINT_VENV)/bin/ruff check .
	$(LINT_VENV)/bin/ruff format --check .
	$(LINT_VENV)/bin/codespell
	$(LINT_VENV)/bin/zizmor --quiet --offline --persona=pedantic .
	$(CHECK_FORM).github-workflows .github/workflows/*.yml
	$(CHECK_FORM).github-issue-forms .github/ISSUE_TEMPLATE/bug.yml .github/ISSUE_TEMPLATE/idea.yml
	$(CHECK_FORM).dependabot .github/dependabot.yml
	$(CHECK_FORM).readthedocs .readthedocs.yaml
	! command -v actionlint >/dev/null || actionlint .github/workflows/*.yml
	$(LINT_VENV)/bin/mypy
	MYPYPATH=tests/fakes:tests/integration/helpers:tests/integration/docs $(LINT_VENV)/bin/mypy tests/integration
	MYPYPATH=tests/e2e $(LINT_VENV)/bin/mypy tests/e2e

format: $(LINT_VENV)/.stamp ## Fix style and format
	$(LINT_VENV)/bin/ruff check --fix .
	$(LINT_VENV)/bin/ruff format .

docs: $(DOCS_VENV)/.stamp ## Write the reference, and build the documentation into docs/_build/html; a warning is an error
	$(DOCS_VENV)/bin/python docs/reference_tables.py
	$(DOCS_VENV)/bin/sphinx-build -M html docs docs/_build --quiet --fail-on-warning --keep-going

e2e: $(E2E_VENV)/.stamp ## Run tests/e2e: a whole Airflow of real processes (EXECUTOR=CeleryExecutor too)
	E2E_EXECUTOR=$(EXECUTOR) $(E2E_VENV)/bin/python -m pytest -n 2 --dist loadscope tests/e2e $(ARGS)

bench: $(BENCH_VENV)/.stamp ## Measure, and write docs/benchmarks.md (ARGS=rate_limit for one part of it)
	$(BENCH_VENV)/bin/python benchmarks/bench.py $(ARGS)

sdk: $(VENV)/.stamp ## Let the vendor's own SDK use the local server (needs Node.js 20)
	@command -v npm >/dev/null || { echo 'make sdk needs Node.js 20 or newer, with npm'; exit 1; }
	npm --prefix $(SDK) install --no-package-lock --ignore-scripts --no-audit --no-fund --loglevel=error
	$(VENV)/bin/python $(SDK)/run_checks.py

real: $(VENV)/.stamp ## Compare the answers of a real server with the recordings (URL=https://… KEY=tr_… TASK=…)
	@AIRFLOW_HOME=$(CURDIR)/.demo/real AIRFLOW__LOGGING__LOGGING_LEVEL=WARNING $(VENV)/bin/python scripts/real.py

matrix: ## Run the tests on every supported Airflow and Python, and show all results
	@MAKE='$(MAKE)' scripts/matrix.sh $(sort $(AIRFLOWS))

mutants: $(MUTANTS_VENV)/.stamp ## Before a release: print changes of the pure modules that no unit test notices (ARGS=FILE for one)
	$(MUTANTS_VENV)/bin/python scripts/mutants.py $(ARGS)

simulate: $(VENV)/.stamp ## Cancel and wait for many runs under random faults in virtual time (ARGS='--seeds 0 200')
	$(VENV)/bin/python tests/simulation/simulation.py $(ARGS)

package: $(PACKAGE_VENV)/.stamp ## Build the sdist and the wheel into dist/, check them, and write the SBOM and the checksums
	@scripts/package.sh $(PACKAGE_VENV)/bin

release: $(PACKAGE_VENV)/.stamp ## As package; also install each file on three Airflows and use it (ARGS=--unreleased for a trial)
	@scripts/release.sh $(PACKAGE_VENV)/bin $(ARGS)

environment: $(VENV)/.stamp ## Make only the virtual environment that demo and test use

constraints: $(VENV)/.stamp ## Write constraints/ again, with today's versions (ARGS=lint for one file)
	scripts/constraints.sh .tools/bin/uv $(ARGS)

clean: ## Remove what these commands made
	rm -rf .venv-* .tools .demo dist build $(SDK)/node_modules docs/_build .coverage .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -not -path './.git/*' -prune -exec rm -rf {} +

INSTALLERS := constraints/build.txt constraints/uv.txt scripts/venv.sh scripts/pythons.sh

$(VENV)/.stamp: pyproject.toml constraints/airflow-$(AIRFLOW).txt $(INSTALLERS)
	@scripts/venv.sh $(VENV) $(AIRFLOW) '$(PYTHON)'

$(LINT_VENV)/.stamp: pyproject.toml constraints/airflow-$(NEWEST).txt constraints/lint.txt $(INSTALLERS)
	@scripts/venv.sh $(LINT_VENV) $(NEWEST) '' lint

$(MUTANTS_VENV)/.stamp: pyproject.toml constraints/airflow-$(NEWEST).txt constraints/mutants.txt $(INSTALLERS)
	@scripts/venv.sh $(MUTANTS_VENV) $(NEWEST) '' mutants

$(PACKAGE_VENV)/.stamp: pyproject.toml constraints/airflow-$(NEWEST).txt constraints/package.txt $(INSTALLERS)
	@scripts/venv.sh $(PACKAGE_VENV) $(NEWEST) '' package

$(BENCH_VENV)/.stamp: pyproject.toml constraints/airflow-$(NEWEST).txt constraints/bench.txt $(INSTALLERS)
	@scripts/venv.sh $(BENCH_VENV) $(NEWEST) '' bench

$(E2E_VENV)/.stamp: pyproject.toml constraints/airflow-$(AIRFLOW).txt constraints/$(E2E_GROUP).txt $(INSTALLERS)
	@scripts/venv.sh $(E2E_VENV) $(AIRFLOW) '$(PYTHON)' $(E2E_GROUP)

$(DOCS_VENV)/.stamp: pyproject.toml constraints/airflow-$(NEWEST).txt constraints/docs.txt $(INSTALLERS)
	@scripts/venv.sh $(DOCS_VENV) $(NEWEST) '' docs
