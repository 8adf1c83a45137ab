# 'make workbook' runs every notebook, 'make test' tests everything, 'make lab' opens JupyterLab; 'make help' lists the rest.
#
#   PYTHON    the Python to build .venv with, 3.11 or newer             make workbook PYTHON=python3.12
#   TORCH     which torch to install; the default fits the machine      make test TORCH='torch==2.13.0'
#   PIP_ARGS  more arguments for every 'pip install'. On Linux without a GPU the usual index may send a torch with CUDA, a
#             few GB of no use; PyTorch's own installation page names an index of CPU builds: PIP_ARGS='--extra-index-url ...'
#   ARGS      arguments for the program behind the target               make workbook ARGS='--only 05 -p retrain=True'
#                                                                       make test ARGS='tests/attacks -k poison'
#                                                                       make test ARGS='-n 0' (one after the other)
#   NB        a notebook's number, for 'make lab' and 'make reset'          make reset NB=05
#   YES       1: 'make reset' does not ask
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

PYTHON ?= python3
VENV ?= .venv
PIP_ARGS ?=
NB ?=
YES ?=
ARGS ?=
ifndef TORCH
TORCH := $(shell if nvidia-smi >/dev/null 2>&1; then echo 'torch>=2.6'; else echo 'torch==2.13.0'; fi)
endif

# Threads with nothing to do sleep instead of spinning, in notebooks that import torch before pcvr too.
export OMP_WAIT_POLICY ?= PASSIVE

# The set-up is done again when the requirements change, or when the checkout has moved, and never otherwise.
KEY := $(shell { cat pyproject.toml constraints.txt; echo '$(CURDIR)'; } | cksum | tr -d ' ')
READY := $(VENV)/.ready-$(KEY)
PY := $(VENV)/bin/python
PIP := $(PY) -m pip -qq --disable-pip-version-check install $(PIP_ARGS) -c constraints.txt

.PHONY: help setup workbook site test vision lab reset notebooks course lint clean distclean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "make %-10s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

setup: $(READY) ## make .venv and install everything (the other targets do it when needed)

workbook: $(READY) ## run every notebook; pages to read come to build/workbook/
	@$(PY) tools/run_workbook.py $(ARGS)

site: $(READY) ## make a book to read in a browser of the executed notebooks, in build/site/html
	@$(PY) tools/build_site.py $(ARGS)

test: $(READY) ## unit, notebook and browser tests, style and types included
	@$(PY) -m pytest -n logical --maxprocesses 4 $(ARGS)

vision: $(READY) ## tests of the families that need torchvision, with one for torch 2.13 in build/vision
	@test -d build/vision/num2words || $(PIP) --no-deps --target build/vision 'torchvision==0.28.0' num2words docopt
	@PYTHONPATH=build/vision $(PY) -m pytest -n logical --maxprocesses 4 -m 'not slow' tests/models/test_today.py \
	  tests/models/test_found_family.py tests/models/test_families.py tests/models/test_conversation.py \
	  -k 'today or found or smolvlm or qwen' $(ARGS)

lab: $(READY) ## open JupyterLab on your own copies of the notebooks, in work/; NB=05 opens that one
	@copy=$$($(PY) tools/work.py open $(NB)); JUPYTER_PREFER_ENV_PATH=1 $(PY) -m jupyterlab "$$copy" \
	  --ServerApp.root_dir='$(CURDIR)' $$([ "$$(id -u)" != 0 ] || echo --allow-root) $(ARGS)

reset: $(READY) ## a fresh copy of a notebook (NB=05); asks, and keeps yours in work/backups/
	@$(PY) tools/work.py reset $(NB) $(if $(filter-out 0 no,$(YES)),--yes)

notebooks: $(READY) ## make notebooks/ and solutions/ from workbook/
	@$(PY) tools/notebooks.py build $(ARGS)

course: $(READY) ## what a teacher needs: slides, plans, quizzes, notebooks without solutions, in build/course/
	@$(PY) tools/course.py build $(ARGS)

lint: $(READY) ## style, types, and notebooks against their sources
	@$(PY) -m ruff check .
	@$(PY) -m mypy
	@$(PY) tools/notebooks.py check

clean: ## remove what was built, but not .venv
	@rm -rf build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
	@find . -name __pycache__ -not -path './$(VENV)/*' -prune -exec rm -rf {} +

distclean: clean ## remove .venv too
	@rm -rf '$(VENV)'

$(READY):
	@command -v '$(PYTHON)' >/dev/null || \
	  { echo "pcvr needs Python 3.11 or newer, and there is no '$(PYTHON)'. Name one: make PYTHON=/path/to/python3" >&2; exit 1; }
	@'$(PYTHON)' -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "pcvr needs Python 3.11 or newer, and '$(PYTHON)' is $$('$(PYTHON)' --version). Name another: make PYTHON=python3.12" >&2; exit 1; }
	@'$(PYTHON)' -m venv '$(VENV)' || \
	  { echo "'$(PYTHON)' could not make $(VENV). On Debian and Ubuntu install its venv package: apt install python3-venv" >&2; exit 1; }
	@echo "Setting up $(VENV), only this once: $(TORCH) first ..."
	@$(PIP) '$(TORCH)'
	@echo "... then the rest (a minute or two) ..."
	@$(PIP) --editable '.[jupyter,course,site,test]'
	@# JupyterLab asks every newcomer whether it may fetch news; in this environment it does not.
	@mkdir -p '$(VENV)/etc/jupyter/labconfig'
	@echo '{"disabledExtensions": {"@jupyterlab/apputils-extension:announcements": true}}' > '$(VENV)/etc/jupyter/labconfig/page_config.json'
	@rm -f '$(VENV)'/.ready-*
	@touch '$@'
	@echo "... ready."
