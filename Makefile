# make setup   the environment in .venv, from a bare machine; nothing to do the second time
# make demo    train on synthetic shapes, print the COCO table, write pictures of the detections
# make test    the tests
VENV ?= .venv
PY = $(VENV)/bin/python
DEMO = configs/demo/retinanet_e_convnext_mini_shapes.py
WORK = work_dirs/demo

# The demo and the tests run on the CPU: the same result from the same seed, with a GPU there or not. Not so what
# they depend on: setup compiles for the GPU that it sees.
ON_CPU = CUDA_VISIBLE_DEVICES=

.PHONY: setup demo test
setup: $(VENV)/.stack

$(VENV)/.stack: requirements/stack.txt requirements/build.txt requirements/dev.txt requirements/lock.txt setup.py tools/setup_env.sh
	VENV=$(VENV) bash tools/setup_env.sh
	@touch $@

data/shapes: | setup
	$(PY) tools/make_shapes.py $@

demo: setup data/shapes
	$(ON_CPU) $(PY) tools/train.py $(DEMO) --work-dir $(WORK)
	$(ON_CPU) $(PY) tools/test.py $(DEMO) "$$(cat $(WORK)/last_checkpoint)" --work-dir $(WORK) --show-dir $(WORK)/pictures
	@echo "pictures of the ground truth (left) and the detections (right): $(WORK)/pictures"

test: setup
	$(ON_CPU) OMP_NUM_THREADS=1 $(PY) -m pytest -n 2 --dist loadfile tests
