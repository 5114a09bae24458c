# make setup | demo | test | bench | run
PYTHON := .venv/bin/python

.PHONY: setup demo test bench run samples

setup:
	@packaging/setup.sh

demo: setup
	$(PYTHON) main.py demo

test: setup
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	.venv/bin/mypy
	QT_QPA_PLATFORM=xcb xvfb-run -a -s "-screen 0 1920x1080x24" $(PYTHON) -m pytest

bench: setup
	$(PYTHON) -m tests.benchmarks

run: setup
	$(PYTHON) main.py

samples: setup
	$(PYTHON) packaging/make_samples.py
