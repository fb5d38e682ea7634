# Front doors. Everything is installed into .venv; constraints.txt pins the CPU build of torch.

PYTHON ?= python3
BIN := .venv/bin

.PHONY: demo serve test check docs mutants fuzz lock speech-tools clean

demo: .venv/installed  ## ask nano the bundled questions
	$(BIN)/kimi-audio demo

serve: .venv/installed  ## talk to nano in a browser; prints the address of the page
	$(BIN)/kimi-audio serve

test: .venv/installed-dev  ## the whole suite
	$(BIN)/python -m pytest -n 2 --dist loadfile

check: .venv/installed-dev  ## linters and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright --pythonpath $(BIN)/python

docs: .venv/installed-dev  ## the documents and a reference of the public classes, in build/site; warnings are errors
	$(BIN)/python docs/assets/draw.py
	$(BIN)/python docs/pages.py
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build

mutants: .venv/installed-dev  ## break lines of the core one by one; do the tests notice?
	$(BIN)/python -m benchmarks.mutants

fuzz: .venv/installed-dev  ## random damage to sound files: FUZZ_FILES of them, three times; and to what clients send
	FUZZ_FILES=$(or $(FUZZ_FILES),5000) $(BIN)/python -m pytest -m slow tests/audio/test_fuzz.py tests/serve/test_strangers.py \
		tests/serve/test_schema.py

# torch and the packages that its builds bring differ by machine and come first, from where its makers say.
BUILDS := torch cuda-bindings cuda-pathfinder cuda-toolkit triton nvidia-cublas nvidia-cuda-cupti nvidia-cuda-nvrtc \
	nvidia-cuda-runtime nvidia-cudnn-cu13 nvidia-cufft nvidia-cufile nvidia-curand nvidia-cusolver nvidia-cusparse \
	nvidia-cusparselt-cu13 nvidia-nccl-cu13 nvidia-nvjitlink nvidia-nvshmem-cu13 nvidia-nvtx

lock:  ## requirements.lock anew: all that the command line needs but torch, with hashes (needs uv)
	uv pip compile --quiet --generate-hashes --universal --python-version 3.11 --no-annotate --no-header \
		--extra media --extra vad -c constraints.txt $(BUILDS:%=--no-emit-package %) pyproject.toml -o requirements.lock

speech-tools:  ## the speech engines that rebuild nano
	$(if $(filter 0,$(shell id -u)),,sudo) apt-get update
	$(if $(filter 0,$(shell id -u)),,sudo) apt-get install -y espeak-ng flite festival \
		festvox-kallpc16k festvox-kdlpc16k festvox-us-slt-hts ffmpeg

clean:
	rm -rf .venv demo-output build

.venv/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "kimi-audio needs Python 3.11 or newer; name one with: make PYTHON=python3.12"; exit 1; }
	@$(PYTHON) -m venv .venv \
		|| { rm -rf .venv; echo "the venv module is missing; install it with: apt-get install python3-venv"; exit 1; }

.venv/installed: .venv/bin/python pyproject.toml constraints.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[media,vad,serve]'
	@touch $@

.venv/installed-dev: .venv/installed
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@touch $@
