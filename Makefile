.DEFAULT_GOAL := help
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
# Hundreds of processes would compile the same files again.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help setup test lint demo bench calibrate history smalldata zoo inside clean

help: ## List the targets
	@grep -hE '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

setup: $(READY) ## Make .venv and install everything, pinned by constraints.txt

$(READY): pyproject.toml constraints.txt
	test -d $(VENV) || python3.11 -m venv $(VENV) || python3 -m venv $(VENV)
	# What is used is compiled when it is first used: a fraction of what is installed.
	$(BIN)/pip install --quiet --no-compile --constraint constraints.txt --editable '.[test]'
	touch $(READY)

test: setup lint ## Run every test, a file at a time on up to four cores
	$(BIN)/pytest --numprocesses auto --maxprocesses 4 --dist loadfile --no-loadscope-reorder

lint: setup ## Style, types and the layout of the house
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

demo: setup ## Train a lineage of real models and watch them being judged
	$(BIN)/python -m demo

bench: setup ## Overhead beside peers, memory and disk, time to verdict, scan rate
	$(BIN)/pip install --quiet --constraint constraints.txt --requirement benchmarks/requirements.txt
	$(BIN)/python -m benchmarks.bench

calibrate: setup ## False-alarm rates and power of every test, by simulation
	$(BIN)/python -m benchmarks.calibrate

history: setup ## Kill trainers, shippers and servers, fill disks, and count what is stored
	$(BIN)/python -m tests.history

smalldata: setup ## How often the small-data test is right, on planted faults
	$(BIN)/python -m benchmarks.smalldata

zoo: setup ## False alarms and misses of the checks, on small networks
	$(BIN)/python -m tests.zoo

inside: setup ## Changes planted inside networks, and how many are found
	$(BIN)/python -m benchmarks.inside

clean: ## Remove .venv and what the demo left
	rm -rf $(VENV) .demo
