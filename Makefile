# Every target sets up what it needs: a machine with Python >= 3.11 and make is enough.
PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.sluice-installed

.DEFAULT_GOAL := help
.PHONY: help setup up demo test unit faults soak crashes lint types layers check redaction-report bench bench-operator lock chart chart-docs images cluster-up cluster-load cluster-deploy cluster-down kind-up e2e clean

help: ## List the targets
	@grep -hE '^[a-z0-9-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 12

setup: $(STAMP) ## Make .venv with everything in it

$(STAMP): pyproject.toml requirements.lock
	@$(PYTHON) -c 'import sys; sys.exit("Sluice needs Python 3.11 or newer; set PYTHON=/path/to/python3.11") if sys.version_info < (3, 11) else None'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint requirements.lock --editable '.[dev]'
	@touch $@

up: setup ## Start everything on this machine and print the curl to try
	@exec $(BIN)/sluice up $(ARGS)

demo: setup ## Send real lines through a temporary stack and verify the result
	@exec $(BIN)/sluice demo $(ARGS)

# Most of their time is waiting, so there may be more of them than processors; JOBS=0: one test after the other.
JOBS ?= 3
test: setup ## Run all tests, in JOBS processes
	$(BIN)/python -m pytest -n $(JOBS) $(ARGS)

unit: setup ## Run the pure tests only
	$(BIN)/python -m pytest tests/unit $(ARGS)

# Which ones: SEEDS=7,9 or SEEDS=1-100.
SEEDS ?= 1-20
faults: setup ## Take processes, disks and connections away under load, at random 20 times or as SEEDS says
	$(BIN)/python -m pytest tests/faults --long --seed $(SEEDS) $(ARGS)

# SOAK_SEED=7 repeats the load and the faults of a run that printed this seed.
SOAK_MINUTES ?= 10
soak: setup ## Load and faults for SOAK_MINUTES; fails when memory, files, connections or a record are left behind
	$(BIN)/python -m pytest tests/soak -s --minutes $(SOAK_MINUTES) $(if $(SOAK_SEED),--soak-seed $(SOAK_SEED)) $(ARGS)

crashes: setup ## Kill the operator at every single write (needs a kube-apiserver, see docs/operator.md)
	$(BIN)/python -m pytest tests/operator/test_crashes.py --crash-every 1 $(ARGS)

lint: setup ## Check style and formatting
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: setup ## Check types
	$(BIN)/mypy

layers: setup ## Check who imports whom
	$(BIN)/lint-imports

check: lint types layers test ## Everything CI runs

redaction-report: setup ## Measure precision and recall of redaction on the labelled corpus
	PYTHONPATH=tests $(BIN)/python -m support.redaction_report $(ARGS)

bench: setup ## Measure speed against ceilings of the same run
	$(BIN)/python -m bench $(ARGS)

bench-operator: setup ## Measure the operator with 100, 250 and 500 Tenants (needs a kube-apiserver)
	PYTHONPATH=tests $(BIN)/python -m bench.operating $(ARGS)

lock: setup ## Write requirements.lock from what is installed
	$(BIN)/python -m pip freeze --exclude-editable --disable-pip-version-check > requirements.lock

chart: setup ## Write the chart's table of values, and test the chart (needs helm)
	$(BIN)/python charts/values_table.py
	$(BIN)/python -m pytest tests/chart $(ARGS)

chart-docs: setup ## Write the chart's table of values
	$(BIN)/python charts/values_table.py

# Any tool that takes a Dockerfile: DOCKER=podman, or DOCKER='buildah'.
DOCKER ?= docker
TAG ?= dev
PYTHON_IMAGE ?= python:3.11-slim-bookworm
images: ## Build the three images as sluice-PART:dev
	for part in ingest worker operator; do \
	  $(DOCKER) build --target $$part --build-arg PYTHON_IMAGE=$(PYTHON_IMAGE) --build-arg REVISION=$(TAG) \
	    -t sluice-$$part:$(TAG) . || exit 1; \
	done

# k8s/cluster.sh says whose cluster it is: kind's, or that of scripts which need no containers around the node.
cluster-up: ## Start a cluster with KEDA and an ingress controller, and say how to reach it
	@k8s/cluster.sh up

cluster-load: ## Build the three images and bring them onto it
	@k8s/cluster.sh load $(TAG)

cluster-deploy: ## Broker, database, chart and a sample Tenant on it
	@eval "$$(k8s/cluster.sh env)" && k8s/deploy.sh

cluster-down: ## Stop it
	@k8s/cluster.sh down

kind-up: ## Start one of kind in any case
	@SLUICE_CLUSTER_SCRIPTS= k8s/cluster.sh up

e2e: setup ## Test everything on that cluster, which is emptied before and after
	@eval "$$(k8s/cluster.sh env)" && exec $(BIN)/python -m pytest tests/e2e $(ARGS)

clean: ## Remove the virtual environment and the embedded stack's data
	rm -rf $(VENV) .sluice
