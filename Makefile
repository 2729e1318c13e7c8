# make demo   a scientific campaign through Balsam, from nothing
# make test   the tests; `make test-all` adds the slow ones
# make chaos  a campaign of real processes under faults, and a check of its history; `make fuzz` calls every rpc with
#             nonsense, `make mutants` shows which bugs the tests find
# make bench  what it costs; `make bench ARGS="w1 w3 --database sqlite"` a part of it
# make docs   the documentation, as a site in build/docs
# make check  style, types, layers, and that the generated code is current
#
# Everything is installed into .venv, once, and again when pyproject.toml changes.

PYTHON ?= python3
WORKERS ?= 2

.PHONY: help demo test test-all chaos fuzz mutants docs check gen bench system venv clean

help:
	@sed -n 's/^# //p' Makefile

demo: .venv/.installed-demo
	@.venv/bin/python examples/equation_of_state/run.py $(ARGS)

test: .venv/.installed-dev system
	.venv/bin/pytest -n $(WORKERS) -m "not slow" $(ARGS)

test-all: test
	.venv/bin/pytest -n $(WORKERS) -m slow $(ARGS)

chaos: .venv/.installed-dev
	@.venv/bin/python -m tests.chaos $(ARGS)

fuzz: .venv/.installed-dev
	@.venv/bin/python -m tests.fuzz $(ARGS)

docs: .venv/.installed-docs
	@NO_MKDOCS_2_WARNING=1 .venv/bin/python -m mkdocs build --strict --quiet $(ARGS)
	@echo "build/docs/index.html"

check: .venv/.installed-dev
	.venv/bin/ruff check
	.venv/bin/ruff format --check
	.venv/bin/mypy
	.venv/bin/python scripts/check_imports.py
	.venv/bin/python -m scripts.check_shells
	bash scripts/gen.sh --check

gen:
	bash scripts/gen.sh

bench: .venv/.installed-dev
	@.venv/bin/python -m benchmarks $(ARGS)

# Bugs seeded in the sources: which of them do the tests find?
mutants: .venv/.installed-dev
	.venv/bin/python -m tests.mutants --workers $(WORKERS) $(ARGS)

# Programs that some tests need, where they can be installed.
system:
	@bash scripts/system.sh

venv: .venv/.installed-dev

.venv/.installed-%: pyproject.toml scripts/venv.sh
	@PYTHON="$(PYTHON)" bash scripts/venv.sh $*

clean:
	rm -rf .venv .venv-gen build dist demo-site .pytest_cache .mypy_cache .ruff_cache .hypothesis
