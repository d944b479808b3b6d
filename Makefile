# make setup   create the environment in .venv, also on a bare machine; the second time there is nothing to do
# make demo    train on synthetic shapes, print the COCO table, draw the detections
# make lint    check style, spelling, types, imports between folders, and the sizes of files
# make test    run the tests, except those of make test-deploy and make test-runs
# make test-deploy   export every kind of model and compare it with PyTorch
# make test-runs     train longer; measure; kill, resume and join training runs, and compare them with undisturbed ones
# With STACK=upstream, the targets use another stack of requirements/stacks/ in an environment of its own.
VENV ?= .venv$(addprefix -,$(STACK))
PY = $(VENV)/bin/python
DEMO = configs/demo/retinanet_e_convnext_mini_shapes.py
WORK = work_dirs/demo

# The demo and the tests run on the CPU, so that a seed gives the same result with and without a GPU. Setup does see the
# GPU, because it compiles MMCV's operators for it.
ON_CPU = CUDA_VISIBLE_DEVICES=

.PHONY: setup demo lint test test-deploy test-runs
setup: $(VENV)/.stack

$(VENV)/.stack: requirements/stack.txt requirements/build.txt requirements/dev.txt requirements/deploy.txt \
		requirements/lock.txt \
		requirements/setup_env.sh setup.py
	VENV=$(VENV) bash requirements/setup_env.sh
	@touch $@

data/shapes: | setup
	$(PY) tools/make_shapes.py $@

demo: setup data/shapes
	rm -rf $(WORK)
	$(ON_CPU) $(PY) tools/train.py $(DEMO) --work-dir $(WORK)
	$(ON_CPU) $(PY) tools/test.py $(DEMO) "$$(cat $(WORK)/last_checkpoint)" --work-dir $(WORK) --show-dir $(WORK)/pictures
	@echo "pictures of the ground truth (left) and the detections (right): $(WORK)/pictures"

# The last command checks the files that git tracks or would add, except tests/data/reference.
lint: setup
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .
	$(PY) -m codespell_lib
	$(VENV)/bin/lint-imports
	$(PY) -m mypy
	git ls-files --cached --others --exclude-standard -z -- ':!tests/data/reference' | \
		xargs -0 $(PY) -m pre_commit_hooks.check_added_large_files --enforce-all --maxkb=500

test: setup
	$(ON_CPU) OMP_NUM_THREADS=1 $(PY) -m pytest -n 2 --dist loadfile -m 'not deploy and not runs' tests

test-deploy: setup
	$(ON_CPU) OMP_NUM_THREADS=1 $(PY) -m pytest -n 2 -m deploy tests/deploy

test-runs: setup
	$(ON_CPU) OMP_NUM_THREADS=1 $(PY) -m pytest -n 2 -m runs tests
