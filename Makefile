# Attention, Decoded. Every target sets itself up; all a machine needs is Python 3.11+, git and make.
# The work is done by the small programs in .ci/; this file only says which run for what.

PORT ?= 8000

export PYTHON TORCH CHROMIUM
SETUP := .ci/python.sh .ci/setup.py
VENV := .venv/bin/python

.DEFAULT_GOAL := help
.PHONY: help book serve test lint format colab models bench clean

help: ## show this list (default)
	@echo "Attention, Decoded"
	@echo
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/  make \1|\2/p' Makefile | awk -F'|' '{printf "%-14s %s\n", $$1, $$2}'
	@echo
	@echo "Every target sets itself up. Options: PYTHON=/path/to/python3  PORT=$(PORT)  CHROMIUM=/path/to/chrome"

book: ## build the book into _build/html and say how to open it
	@$(SETUP) python node
	@$(VENV) .ci/book.py build

serve: book ## build the book and serve it on http://localhost:8000 (PORT=…)
	@$(VENV) .ci/book.py serve $(PORT)

test: ## run all tests: Python, JavaScript, the built site in a browser, Colab's versions
	@$(SETUP) python node browser colab
	@$(VENV) -m pytest $(PYTEST)

lint: ## check style and types of Python and JavaScript
	@$(SETUP) python node
	@$(VENV) .ci/lint.py

format: ## let ruff mend what it can
	@$(SETUP) python
	@$(VENV) -m ruff check --fix --quiet .
	@$(VENV) -m ruff format .

colab: ## write every chapter's Colab notebook and run them all with Colab's versions
	@$(SETUP) python node browser colab
	@$(VENV) .ci/book.py build
	@$(VENV) -m pytest tests/colab

models: ## train the shipped models again (MODEL=name for one of them)
	@$(SETUP) python
	@$(VENV) .ci/models.py $(MODEL)

bench: ## measure the book (build, page weight, time until alive) and the models' code against others'
	@$(SETUP) python node browser
	@$(VENV) .ci/bench.py
	@$(VENV) .ci/bench_models.py

clean: ## remove what was built (the set-up stays: .venv, node_modules)
	rm -rf _build dist build .pytest_cache .ruff_cache
