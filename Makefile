# Everything is installed into .venv, a private environment; nothing is installed system-wide.
PYTHONS := python3.13 python3.12 python3.11
PYTHON ?= $(shell for python in python3 $(PYTHONS); do \
	$$python -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' 2>/dev/null && echo $$python && break; done)
VENV_PYTHON := .venv/bin/python

# Bytecode is kept also where the environment has it otherwise: every process of the tests imports the same.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: demo test check pythons client campaign prove fuzz bench docs dist lint clean

demo: .venv/.installed
	@$(VENV_PYTHON) -m entrypoints.cli demo $(ARGS)

# Four at a time, as tests wait more than they work, a file to each; ARGS="-n 0" for one after the other. In their
# order: the unit tests, of which no file takes long, come last and leave nobody without work.
test: .venv/.installed-test
	$(VENV_PYTHON) -m pytest -n 4 --dist loadfile --no-loadscope-reorder -m "not check" $(ARGS)

# What takes longer, or needs a browser: every stock client over every route, nginx in between, cuts, kills, crowds.
check: .venv/.installed-test .venv/.installed-docs .venv/.installed-schemathesis
	$(VENV_PYTHON) -m pytest -n 3 --dist loadfile -m check $(ARGS)

# The tests on each Python that is claimed to do and is here, in an environment of its own.
pythons:
	@for python in $(PYTHONS); do \
		$$python -c '' 2>/dev/null || { echo "$$python is not here, and not tried"; continue; }; \
		$$python -m venv .venv/pythons/$$python || exit 1; \
		.venv/pythons/$$python/bin/python -m pip install --quiet --disable-pip-version-check --editable '.[test]' || exit 1; \
		.venv/pythons/$$python/bin/python -m pytest -n 4 --dist loadfile --no-loadscope-reorder -m "not check" $(ARGS) || exit 1; \
	done

# The module that pages load, made of adapters/client/src.
client: .venv/.installed-test
	$(VENV_PYTHON) -m tests.e2e.inbox_build

# The campaigns (fuzz, kills, cuts) in full; the tests above run them with smaller counts.
campaign: .venv/.installed-test
	CAMPAIGN=full $(VENV_PYTHON) -m pytest -m campaign --timeout 0 -s $(ARGS)

# Random histories of publishers, clients and faults against real servers, and a verdict: docs/explanation/proof.md.
# ARGS="--seed 7 --minutes 10 --against cluster".
prove: .venv/.installed-test
	$(VENV_PYTHON) -m tests.prove $(ARGS)

# Coverage-guided, SECONDS for each target.
fuzz: .venv/.installed-fuzz
	$(VENV_PYTHON) -m tests.fuzz --seconds $(or $(SECONDS),60) $(ARGS)

# This server beside Socket.IO on Node and the stock python-socketio: about an hour and a half.
# Writes docs/benchmark*, and what docs/explanation/performance.md and the README say of them. ARGS="--only nodes_across".
bench: .venv/.installed-bench
	$(VENV_PYTHON) -m tests.benchmarks $(ARGS)

# Writes what the reference has of the program, and the documents as pages: open docs/_build/index.html. They load nothing
# from elsewhere.
docs: .venv/.installed-docs
	$(VENV_PYTHON) -m docs.generate
	$(VENV_PYTHON) -m sphinx --fail-on-warning --keep-going --quiet -d .venv/doctrees docs docs/_build $(ARGS)

# What is shipped, in dist/: the wheel, a bill of materials (CycloneDX) of all that it is installed with, and the licences
# of these. The same versions give the same files.
dist: .venv/.installed-dist
	rm -rf dist .venv/shipped
	$(VENV_PYTHON) -m pip wheel --quiet --disable-pip-version-check --no-deps --wheel-dir dist .
	$(VENV_PYTHON) -m venv --without-pip .venv/shipped
	$(VENV_PYTHON) -m pip --python .venv/shipped install --quiet --disable-pip-version-check '.[postgresql]'
	$(VENV_PYTHON) -m cyclonedx_py environment --pyproject pyproject.toml --output-reproducible \
		--output-file dist/synkrone-socket.cdx.json .venv/shipped
	$(VENV_PYTHON) deploy/licences.py dist/synkrone-socket.cdx.json > dist/licences.md

lint: .venv/.installed-dev
	$(VENV_PYTHON) -m ruff check .
	$(VENV_PYTHON) -m ruff format --check .
	$(VENV_PYTHON) -m mypy
	.venv/bin/lint-imports

.venv/.created:
	@test -n "$(PYTHON)" || { echo "Python 3.11, 3.12 or 3.13 is needed" >&2; exit 1; }
	$(PYTHON) -m venv .venv
	touch $@

.venv/.installed: .venv/.created pyproject.toml
	$(VENV_PYTHON) -m pip install --quiet --disable-pip-version-check --editable .
	touch $@

.venv/.installed-test: .venv/.created pyproject.toml
	$(VENV_PYTHON) -m pip install --quiet --disable-pip-version-check --editable '.[test]'
	touch $@ .venv/.installed

.venv/.installed-fuzz: .venv/.created pyproject.toml
	$(VENV_PYTHON) -m pip install --quiet --disable-pip-version-check --editable '.[fuzz]'
	touch $@ .venv/.installed

.venv/.installed-bench: .venv/.created pyproject.toml
	$(VENV_PYTHON) -m pip install --quiet --disable-pip-version-check --editable '.[bench]'
	touch $@ .venv/.installed-test .venv/.installed

.venv/.installed-dist: .venv/.created pyproject.toml
	$(VENV_PYTHON) -m pip install --quiet --disable-pip-version-check --editable '.[dist]'
	touch $@ .venv/.installed

.venv/.installed-docs: .venv/.created pyproject.toml
	$(VENV_PYTHON) -m pip install --quiet --disable-pip-version-check --editable '.[docs]'
	touch $@ .venv/.installed

# In an environment of its own: it brings plugins for pytest, and versions that the tests do not have.
.venv/.installed-schemathesis: .venv/.created tests/e2e/validators/requirements.txt
	$(VENV_PYTHON) -m venv .venv/schemathesis
	.venv/schemathesis/bin/python -m pip install --quiet --disable-pip-version-check -r tests/e2e/validators/requirements.txt
	touch $@

.venv/.installed-dev: .venv/.created pyproject.toml
	$(VENV_PYTHON) -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	touch $@ .venv/.installed-test .venv/.installed-bench .venv/.installed

clean:
	rm -rf .venv docs/_build adapters/client/node_modules tests/benchmarks/node/node_modules
	rm -rf tests/e2e/js/node_modules tests/e2e/frameworks/node_modules tests/e2e/validators/node_modules
	rm -rf tests/e2e/prisma/node_modules
