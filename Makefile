# make setup | demo | check | test | bench | run
PYTHON := .venv/bin/python

.PHONY: setup demo check test bench run samples

setup:
	@packaging/setup.sh

demo: setup
	$(PYTHON) main.py demo

check: setup
	$(PYTHON) -m ruff check .
	$(PYTHON) -m ruff format --check .
	$(PYTHON) -m mypy

test: check
	QT_QPA_PLATFORM=xcb OMP_NUM_THREADS=1 $(PYTHON) -m pytest -n logical --maxprocesses 4 --dist loadfile --no-loadscope-reorder

bench: setup
	$(PYTHON) -m tests.benchmarks

run: setup
	$(PYTHON) main.py

samples: setup
	$(PYTHON) packaging/make_samples.py
