# make demo   set up, train on data that comes with the dependencies, show accuracy and figures
# make test   set up and run all tests: up to 12 minutes on two cores
# make test-fast   those of a few seconds each: a minute and a half
# make notebooks   run the notebooks of examples/ and keep their outputs
# make check  set up, lint and check the types
# make docs   set up, build the site of README.md and docs/ into site/html, with links checked
# None of these needs a GPU, an account or a download of data.
#
# make graphics                       the README's figures from the shipped models, in a minute (downloads MNIST)
# make reproduce-mnist                the paper's ten seeds, the best one's figures and the table: 5 hours or more on a CPU
# make reproduce-3dshapes             the same for reproduce-3dshapes_1 and -3dshapes_2, on rendered images
# make reproduce-svhn                 the same (downloads SVHN)
# make reproduce-mnist ARGS="--seeds 0 1 --data_dir /data"      flags of reproduce.py

PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin

.PHONY: demo test test-fast check docs notebooks setup graphics \
	reproduce-mnist reproduce-3dshapes reproduce-3dshapes_1 reproduce-3dshapes_2 reproduce-svhn
.DEFAULT_GOAL := demo

setup: $(VENV)/.ready

$(VENV)/.ready: requirements.txt requirements-dev.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check -r requirements.txt -r requirements-dev.txt
	touch $@

demo: setup
	$(BIN)/python train.py --config_args_path configs/demo.yml --wandb_mode disabled

test: setup
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2

test-fast: setup
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 -m "not slow"

check: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

docs: setup
	$(BIN)/pip install --quiet --disable-pip-version-check -r requirements-docs.txt
	$(BIN)/python -m docs.site_source
	$(BIN)/mkdocs build --strict

notebooks: setup
	PYTHONPATH="$(CURDIR)" $(BIN)/jupyter execute --inplace examples/*.ipynb

graphics: setup
	$(BIN)/python -m docs.make_graphics $(ARGS)

reproduce-mnist reproduce-3dshapes_1 reproduce-3dshapes_2 reproduce-svhn: reproduce-%: setup
	$(BIN)/python reproduce.py $* $(ARGS)

reproduce-3dshapes: reproduce-3dshapes_1 reproduce-3dshapes_2
