# Each target is enough alone on a machine with Python 3.11 or newer, git and make.
PYTHON ?= python3
VENV := .venv
INSTALLED := $(VENV)/.installed
# DVC starts the stages as `python -m pipeline.<stage>`: that has to be the environment's.
ENVIRONMENT := PATH="$(CURDIR)/$(VENV)/bin:$$PATH" MLFLOW_DISABLE_TELEMETRY=true DVC_NO_ANALYTICS=true

# What setuptools installs for `--editable` is asked last: in the folder above a clone named vaelab, Python takes
# the clone for the package. A path entry is asked before.
PATH_ENTRY = import os, sysconfig; \
	entry = open(os.path.join(sysconfig.get_path("purelib"), "vaelab_source.pth"), "w"); \
	print(os.path.abspath("src"), file=entry)

.PHONY: repository repro explore compare tune recipe bench dashboard ui diff promote test test-slow docs chaos audit check format clean help

help:  ## what there is to make
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 12

$(INSTALLED): pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit("vaelab needs Python 3.11 or newer" if sys.version_info < (3, 11) else 0)'
	@echo "installing PyTorch and all else that vaelab needs into $(VENV), once: some GB, which takes minutes"
	$(PYTHON) -m venv $(VENV)
	$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check \
		--constraint constraints.txt --editable '.[pipeline,onnx,dev,docs]'
	@$(VENV)/bin/python -c '$(PATH_ENTRY)'
	touch $@

repository:
	@git rev-parse --is-inside-work-tree >/dev/null 2>&1 || { echo "error: DVC needs a git repository, \
	which this folder is not: type git init, then make $(MAKECMDGOALS) again" >&2; exit 2; }

repro: repository $(INSTALLED)  ## download, prepare, train, evaluate and render what is out of date
	$(ENVIRONMENT) dvc repro

explore: repository $(INSTALLED)  ## build what is out of date, and open the page with the model inside
	$(ENVIRONMENT) dvc repro explore
	$(ENVIRONMENT) python -m webbrowser -t "file://$(CURDIR)/results/explorer/index.html"

compare: repository $(INSTALLED)  ## objectives side by side, in numbers (pipeline/comparison/params.yaml)
	cd pipeline/comparison && $(ENVIRONMENT) dvc repro

tune: $(INSTALLED)  ## a study of the settings in tune.search_space (WORKERS=4; APPLY=1 takes its winner)
	$(ENVIRONMENT) python -m pipeline.tune $(if $(WORKERS),--workers $(WORKERS)) \
		$(if $(filter-out 0,$(APPLY)),--apply $(filter best smallest,$(APPLY)))

recipe: $(INSTALLED)  ## settings for a kind of images into params.yaml (NAME=faces_64; without, all are listed)
	@$(ENVIRONMENT) python -m pipeline.params.recipe $(NAME)

BENCHMARKS := training overhead startup vectorized large_data cost

bench: $(INSTALLED)  ## speed beside other tools and beside the machine's limit (docs/speed.md)
	for name in $(BENCHMARKS); do $(ENVIRONMENT) python -m benchmarks.$$name || exit; done

dashboard: $(INSTALLED)  ## watch the study at http://127.0.0.1:8080 (PORT=... for another port)
	$(ENVIRONMENT) python -m pipeline.study.dashboard --port $(or $(PORT),8080)

ui: $(INSTALLED)  ## browse the runs at http://127.0.0.1:5000 (PORT=... for another port)
	@$(ENVIRONMENT) python -m pipeline.tracking.ui --port $(or $(PORT),5000)

diff: $(INSTALLED)  ## two runs side by side (A=... B=...: folders, git revisions or experiments)
	@$(if $(and $(A),$(B)),,echo "error: name two runs: make diff A=main B=my-experiment" >&2; exit 2)
	@$(ENVIRONMENT) python -m pipeline.diff $(A) $(B)

promote: $(INSTALLED)  ## give the best registered model the alias "best" (METRIC=test.nll_nats, MODEL=digits-vae)
	@$(ENVIRONMENT) python -m pipeline.tracking.promote $(if $(METRIC),--metric $(METRIC)) \
		$(if $(MODEL),--model $(MODEL))

PYTEST := python -m pytest --numprocesses auto --maxprocesses 4 --dist loadfile \
	--no-loadscope-reorder --durations 25 --durations-min 5

test: $(INSTALLED)  ## the tests to run after each change, on up to four cores
	$(ENVIRONMENT) $(PYTEST)

test-slow: $(INSTALLED)  ## the tests marked slow: studies, experiments and outages for real
	$(ENVIRONMENT) $(PYTEST) -m slow

docs: $(INSTALLED)  ## these pages and the API reference, into docs/_build/html
	$(ENVIRONMENT) sphinx-build --quiet --fail-on-warning --keep-going docs docs/_build/html

chaos: $(INSTALLED)  ## kill, starve and cut off the pipeline by the dozen; it must not mind
	$(ENVIRONMENT) python -m pytest -m chaos -s tests/pipeline/chaos

audit: $(INSTALLED)  ## known vulnerabilities of what is pinned, as far as the index tells them
	$(VENV)/bin/python -m pip check
	$(PYTHON) -m venv .audit
	.audit/bin/python -m pip install --quiet --disable-pip-version-check pip-audit
	.audit/bin/pip-audit --requirement constraints.txt --no-deps --disable-pip

# The explorer's script and style, where npm is installed
BIOME := $(if $(shell command -v npx),npx --yes @biomejs/biome@2.6.8,@echo "npm is not installed: not run: biome")

check: $(INSTALLED)  ## linter, formatter and strict type checker, as in CI
	$(ENVIRONMENT) ruff check
	$(ENVIRONMENT) ruff format --check
	$(ENVIRONMENT) mypy
	$(BIOME) check

format: $(INSTALLED)  ## mend what the linter and the formatter can
	$(ENVIRONMENT) ruff check --fix
	$(ENVIRONMENT) ruff format
	$(BIOME) check --write
