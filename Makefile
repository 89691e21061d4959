# Python 3.11+ and make are all a machine needs: everything else is installed into .venv and frontend/node_modules.

PYTHON ?= python3
# Another index for torch, for example https://download.pytorch.org/whl/cpu on a Linux machine with no GPU.
TORCH_INDEX ?=
# All but `sae`, which `make sae` adds.
EXTRAS := torch,gguf,postgres,redis

BIN := $(CURDIR)/.venv/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt
NPM := cd frontend && PATH="$(BIN):$$PATH" npm
STAMPS := .venv/.stamps
ANSWERS := backend/src/modelyard/client/answers.py
CHECKS := check-tests check-package check-page check-types check-docs
WEB := backend/src/modelyard/web/static/index.html
WEB_SOURCES := $(shell find frontend/src frontend/public -type f 2>/dev/null) $(wildcard frontend/*.html) frontend/vite.config.ts frontend/tsconfig.json

# Some containers forbid it; tests start hundreds of processes, and each would compile the package and the tests again.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: setup run sae test test-thorough coverage check $(CHECKS) bench docs pictures docs-pictures types dist mutants clean

setup: $(STAMPS)/python $(WEB)

run: setup
	@exec $(BIN)/modelyard serve

# torch first and by itself: as somebody's dependency, pip would choose a build of several gigabytes.
$(STAMPS)/python: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Python 3.11 or newer is needed; name one with: make PYTHON=python3.12"; exit 1; }
	@test -x $(BIN)/python || { echo "Creating .venv"; $(PYTHON) -m venv .venv; }
	@echo "Installing torch"
	@$(PIP) $(if $(TORCH_INDEX),--index-url $(TORCH_INDEX)) torch==2.13.0
	@echo "Installing Modelyard"
	@$(PIP) -e '.[$(EXTRAS),build]'
	@mkdir -p $(STAMPS) && touch $@

$(STAMPS)/dev: $(STAMPS)/python
	@$(PIP) -e '.[$(EXTRAS),build,dev]'
	@touch $@

MKDOCS = NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --quiet

# Into build/site; a link that leads nowhere, and a page that would ask another host for something, are errors.
docs: setup $(STAMPS)/docs
	$(MKDOCS)

$(STAMPS)/docs: $(STAMPS)/python
	@echo "Installing what builds the documentation"
	@$(PIP) -e '.[docs]'
	@touch $@

sae: $(STAMPS)/sae

# About 700 MB that only training needs.
$(STAMPS)/sae: $(STAMPS)/python
	@echo "Installing the training extra"
	@$(PIP) -e '.[sae]'
	@touch $@

$(STAMPS)/node: frontend/package.json frontend/package-lock.json $(STAMPS)/python
	@echo "Installing the page's packages"
	@$(NPM) ci --silent --no-audit --no-fund
	@touch $@

$(WEB): $(STAMPS)/node $(WEB_SOURCES)
	@echo "Building the page"
	@$(NPM) run --silent build
	@touch $@

# One process more than two cores: much of the time a test waits for processes of its own.
PYTEST = $(BIN)/python -m pytest backend/tests -n 3 --no-loadscope-reorder

# Tests marked `sae` are skipped until `make sae` was run.
test: setup $(STAMPS)/dev
	$(NPM) run --silent test
	$(PYTEST) -m "not thorough" $(PYTEST_ARGS)

# What `make test` left out: tests marked `thorough`, and those of the training extra.
test-thorough: setup $(STAMPS)/dev $(STAMPS)/sae
	$(PYTEST) -m "thorough or sae" $(PYTEST_ARGS)

# Tests patch what modules import, and scripts of theirs are typed less strictly than the package.
# Other options make another cache of what mypy knows.
MYPY_OF_TESTS = MYPYPATH=backend/src:backend/tests:docs/site $(BIN)/mypy --cache-dir .mypy_cache/tests \
  --explicit-package-bases --implicit-reexport \
  --no-warn-return-any --allow-any-generics --allow-untyped-calls --no-warn-unused-ignores --no-strict-equality \
  --disable-error-code misc backend/tests

# Reports, not targets: htmlcov/index.html and frontend/coverage/index.html.
coverage: setup $(STAMPS)/dev
	$(NPM) run --silent test -- --coverage
	$(PYTEST) -m "not thorough" --cov=modelyard --cov-report=html --cov-report=term:skip-covered $(PYTEST_ARGS)

check: setup $(STAMPS)/dev $(STAMPS)/docs
	$(BIN)/ruff check backend benchmarks docs/site
	$(BIN)/ruff format --check backend benchmarks docs/site
	@$(MAKE) --no-print-directory -j2 $(CHECKS)

check-tests:
	$(MYPY_OF_TESTS)

check-package:
	$(BIN)/mypy
	$(BIN)/lint-imports

check-page:
	$(NPM) run --silent lint
	$(NPM) run --silent format:check
	$(NPM) run --silent typecheck

check-types:
	@$(BIN)/python -m modelyard.openapi | diff -q - frontend/openapi.json >/dev/null || { echo "frontend/openapi.json is out of date: make types"; exit 1; }
	@$(BIN)/python -m modelyard.openapi --answers | diff -q - $(ANSWERS) >/dev/null || { echo "$(ANSWERS) is out of date: make types"; exit 1; }
	@$(BIN)/python -m modelyard.openapi --errors | diff -q - docs/errors.md >/dev/null || { echo "docs/errors.md is out of date: make types"; exit 1; }
	@$(NPM) run --silent types -- --check

check-docs:
	$(MKDOCS)

types: $(STAMPS)/dev $(STAMPS)/node
	$(BIN)/python -m modelyard.openapi > frontend/openapi.json
	$(BIN)/python -m modelyard.openapi --answers > $(ANSWERS)
	$(BIN)/python -m modelyard.openapi --errors > docs/errors.md
	$(NPM) run --silent types

# The wheel and everything that it needs with torch, as wheels, and torch first as above; then both kinds of installation are
# made of these alone and tried.
PIP_WHEEL = $(BIN)/python -m pip wheel --quiet --disable-pip-version-check -c constraints.txt -w dist/wheelhouse

dist: setup $(STAMPS)/dev
	rm -rf dist
	$(BIN)/python -m hatchling build --target wheel --directory dist
	$(PIP_WHEEL) $(if $(TORCH_INDEX),--index-url $(TORCH_INDEX)) torch==2.13.0
	$(PIP_WHEEL) --find-links dist/wheelhouse "modelyard[torch] @ file://$$(ls $(CURDIR)/dist/*.whl)"
	$(BIN)/python -m pytest backend/tests/e2e/wheel.py -s

# Of every state of the page, in three widths and both schemes, into build/pictures; or those of the documentation.
pictures: setup $(STAMPS)/dev
	cd backend/tests && $(BIN)/python -m e2e.pictures $(CURDIR)/build/pictures $(ONLY)

docs-pictures: setup $(STAMPS)/dev $(STAMPS)/sae
	cd backend/tests && $(BIN)/python -m e2e.pictures docs

# How many small faults the fast tests of the downloads, the estimates and the jobs notice; PARTS=jobs is one of them.
mutants: setup $(STAMPS)/dev $(STAMPS)/mutants
	cd backend/tests && nice $(BIN)/python -m mutants $(PARTS)

$(STAMPS)/mutants: $(STAMPS)/python
	@echo "Installing what makes mutants"
	@$(PIP) -e '.[mutants]'
	@touch $@

bench: setup $(STAMPS)/dev
	@for script in benchmarks/*.py; do echo "== $$script"; $(BIN)/python $$script || exit 1; done

clean:
	rm -rf .venv dist frontend/node_modules backend/src/modelyard/web/static htmlcov frontend/coverage .coverage*
