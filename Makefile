# Two commands are all the set-up: `make quickstart` and `make test`. Each makes .venv and installs what it needs.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# PyTorch's own index of CPU builds: on Linux a bare torch is a CUDA build of several gigabytes. Not used where an NVIDIA
# driver is found, and not read at all where torch is installed already. pip passes over an index that it cannot reach.
TORCH_INDEX ?= https://download.pytorch.org/whl/cpu
HAS_NVIDIA := $(shell nvidia-smi >/dev/null 2>&1 && echo yes)
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt
ifneq ($(HAS_NVIDIA),yes)
PIP_TORCH := $(PIP) --extra-index-url $(TORCH_INDEX)
else
PIP_TORCH := $(PIP)
endif

.PHONY: quickstart test test-all check fix bench docs clean

quickstart: $(VENV)/.installed
	@echo "Next: the model smollm2-135m-instruct, a download of 93 MB, unless it is here already."
	@$(BIN)/llamarium pull smollm2-135m-instruct >/dev/null || echo "Going on without it."
	@$(BIN)/llamarium quickstart

test: $(VENV)/.installed-dev
	$(BIN)/python -m pytest

test-all: $(VENV)/.installed-dev
	$(BIN)/python -m pytest -m "slow or not slow"

check: $(VENV)/.installed-dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/python docs/core_size.py

fix: $(VENV)/.installed-dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: $(VENV)/.installed-dev
	$(BIN)/python -m bench

docs: $(VENV)/.installed-dev
	$(BIN)/python docs/build_reference.py

$(VENV)/.torch: constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Llamarium needs Python 3.11 or later; set PYTHON=python3.12, say."; exit 2; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "Installing into $(VENV): torch (CPU build, about 200 MB; with an NVIDIA driver its CUDA build) and about 60 MB of other packages."
	@$(PIP_TORCH) torch
	@touch $@

$(VENV)/.installed: $(VENV)/.torch pyproject.toml
	@$(PIP) --editable '.[all]'
	@touch $@

$(VENV)/.installed-dev: $(VENV)/.torch pyproject.toml
	@$(PIP) --editable '.[dev]'
	@touch $@ $(VENV)/.installed

clean:
	rm -rf $(VENV) build dist .pytest_cache .mypy_cache .ruff_cache
