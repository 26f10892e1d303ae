# Two commands are all the set-up: `make quickstart` and `make test`. Each makes .venv and installs what it needs.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# PyTorch's own index of CPU builds: on Linux a bare torch is a CUDA build of several gigabytes. It is asked only where no
# NVIDIA driver is found, and left out where it does not answer within five seconds.
TORCH_INDEX ?= https://download.pytorch.org/whl/cpu
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt

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
	@if ! nvidia-smi >/dev/null 2>&1 && $(PYTHON) -c "from urllib.request import urlopen; urlopen('$(TORCH_INDEX)/torch/', timeout=5)" 2>/dev/null; \
	then $(PIP) --extra-index-url $(TORCH_INDEX) torch; else $(PIP) torch; fi
	@touch $@

$(VENV)/.installed: $(VENV)/.torch pyproject.toml
	@$(PIP) --editable '.[all]'
	@touch $@

$(VENV)/.installed-dev: $(VENV)/.torch pyproject.toml
	@$(PIP) --editable '.[dev]'
	@touch $@ $(VENV)/.installed

clean:
	rm -rf $(VENV) build dist .pytest_cache .mypy_cache .ruff_cache
