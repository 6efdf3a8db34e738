# `make run` starts everything, `make test` checks everything. Settings are environment variables: docs/settings.md
.DELETE_ON_ERROR:
.DEFAULT_GOAL := help

PYTHON ?= python3
# with TRAINING=1 the service can train, too; TensorFlow makes its environment 1.5 GB larger
ENV := $(if $(TRAINING),.venv-training,.venv-run)
RUN := $(ENV)/bin/python
COVERAGE := PYTHONPATH=$(CURDIR)/tests/plugins .venv/bin/coverage

.PHONY: help run weights test check bench format lock vendor clean
help:
	@echo "make run                    start the service on http://localhost:5000"
	@echo "make run TRAINING=1         with a trainer beside it: docs/train-your-own.md"
	@echo "make weights MODEL=yolov3   fetch the files of a model (MODEL=--list shows all)"
	@echo "make test                   linters, types and all tests"
	@echo "make bench PHOTO=dog.jpg    photos a second, against BentoML and LitServe"
	@echo "make format                 format the code"
	@echo "make lock                   pin the dependencies anew"

# What runs is installed from the lock file alone, each package checked against its hash.
.venv-run/installed: requirements/standalone.txt
	$(call make_venv,.venv-run,requirements/standalone.txt)

.venv-training/installed: requirements/standalone-training.txt
	$(call make_venv,.venv-training,requirements/standalone-training.txt)

.venv/installed: requirements/dev.txt
	$(call make_venv,.venv,requirements/dev.txt)

define make_venv
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Python 3.11 or newer is needed (PYTHON=python3.12 make ...)"; exit 1; }
	$(PYTHON) -m venv --clear $(1)
	$(1)/bin/python -m pip install --disable-pip-version-check --quiet --no-deps --require-hashes --requirement $(2)
	@touch $(1)/installed
endef

.venv-bench/installed: requirements/bench.txt
	$(call make_venv,.venv-bench,requirements/bench.txt)

run: $(ENV)/installed
	@$(if $(TRAINING),ALLOW_TRAINING=true) exec $(RUN) -m standalone

weights: $(ENV)/installed
	@$(RUN) -m worker.weights $(MODEL)

check: .venv/installed
	.venv/bin/ruff check
	.venv/bin/ruff format --check
	.venv/bin/mypy
	.venv/bin/lint-imports
	.venv/bin/hadolint web/Dockerfile worker/Dockerfile

test: check
	rm -f .coverage*
	$(COVERAGE) run -m pytest $(PYTEST)
	@$(COVERAGE) combine --quiet
	@$(COVERAGE) report

# against other servers, on this machine, with the default model and the photo PHOTO
bench: .venv-bench/installed
	.venv-bench/bin/python -m bench.serving --photo $(PHOTO) --weights weights \
		| .venv-bench/bin/python -m bench.plot docs/serving.svg --up photos/s --by server

format: .venv/installed
	.venv/bin/ruff check --fix
	.venv/bin/ruff format

lock:
	sh requirements/lock.sh

vendor:
	sh web/vendor.sh

clean:
	rm -rf .venv .venv-run .venv-training .venv-bench .venv-s3 .mypy_cache .ruff_cache .pytest_cache .coverage*
