# Every target works alone on a bare checkout with Python 3.11 or newer, g++ and make: it sets up .venv first.
#
#   make PYTHON=python3.12 test      another Python for the environment
#   make test ARGS="-k cpu -x"       more arguments for pytest, `diffuser-fast demo` or `diffuser-fast bench`
#   make test WORKERS=1              how many test processes

SHELL := /bin/sh
.DELETE_ON_ERROR:
.DEFAULT_GOAL := help

VENV    ?= .venv
ARGS    ?=
WORKERS ?= auto
# The first Python that starts and is new enough for the pins in requirements/dev.txt (the package itself runs on 3.10).
PYTHON  ?= $(shell for p in python3.11 python3.12 python3.13 python3; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$p && break; done)

# A developer's build fails when the engine does not compile; an installation by a user skips it (setup.py).
export DIFFUSER_FAST_BUILD ?= cpu

PY        := $(VENV)/bin/python
PIP       := $(PY) -m pip --disable-pip-version-check -qq
CXX       ?= g++
ENGINE    := $(wildcard csrc/*.h csrc/*.cc csrc/cpu/*.h csrc/cpu/*.cc)
FORMATTED := $(ENGINE) $(wildcard csrc/capi/*.h csrc/capi/*.cc include/* examples/c/*.c examples/cpp/* tests/capi/*.c tests/capi/*.cc tests/arm/*.cc) $(wildcard csrc/cuda/*.h csrc/cuda/*.cc csrc/cuda/*.cu csrc/cuda/*.cuh tests/emulated/*.cu)

.PHONY: help venv build demo test margins test-oldest test-pythons test-libraries lint format capi capi-installed fuzz-bundle bench paper paper-quick gpu gpu-check cuda-check arm wheel-arm wheel sanitize sanitize-address sanitize-thread sanitize-executor clean

help:           ## this list
	@grep -E '^[a-z-]+: .*##|^[a-z-]+:  +##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):[^#]*## (.*)/  make \1\t\2/' | expand -t 18

$(VENV)/.requirements: requirements/dev.txt
	@test -n "$(PYTHON)" || { echo "make: needs Python 3.11 or newer with venv (make PYTHON=... names one)" >&2; exit 1; }
	@echo "setting up $(VENV) with $(PYTHON): about a minute"
	@test -x $(PY) || $(PYTHON) -m venv $(VENV)
	@$(PIP) install -r requirements/dev.txt
	@touch $@

# pip installs in the editable mode: a changed .py counts at once, a changed C++ file rebuilds the engine here.
$(VENV)/.installed: $(VENV)/.requirements setup.py pyproject.toml $(ENGINE)
	@echo "building the engine and installing diffuser-fast into $(VENV)"
	@$(PIP) install --no-build-isolation --no-deps -e .
	@touch $@

venv: $(VENV)/.requirements    ## the environment with its tools, in .venv
build: $(VENV)/.installed      ## the package with its C++ engine, installed into .venv

demo: build     ## a plan, its picture and its time
	@$(VENV)/bin/diffuser-fast demo $(ARGS)

# One process per core and one thread per process: the suite is many small cases. Triton's interpreter and its compiler
# cannot share a process, so what is interpreted is a run of its own, where Triton can be installed at all. Both run and
# report, whatever the first says. What numbers are judged by is computed once for all processes (tests/kept_bounds.py).
BOUNDS := --bounds=$(abspath build/bounds)
PYTEST := OMP_NUM_THREADS=1 $(PY) -m pytest -q -n $(WORKERS) --maxprocesses 8 --dist worksteal --benchmark-disable $(BOUNDS)
test: build     ## all tests
	@code=0; $(PYTEST) $(ARGS) || code=$$?; \
	if $(PY) -c 'import triton' 2>/dev/null; then TRITON_INTERPRET=1 $(PYTEST) tests/interpreted $(ARGS) || \
	    { its=$$?; $(if $(strip $(ARGS)),test $$its = 5,false) || test $$code != 0 || code=$$its; }; fi; exit $$code

margins: build  ## the numeric tests under every setting of torch and the engine: how near they come to their bounds
	@WORKERS=$(WORKERS) $(PY) tests/margins.py $(ARGS)

# The oldest versions that pyproject.toml admits, in .venv-oldest; and the newest that other Pythons take, in .venv-python3.x.
# torch alone may be named, for some of its builds are of gigabytes: make test-oldest OLDEST_TORCH=2.13.0
OLDEST_TORCH ?= 2.6.0
PYTHONS      ?= python3.10 python3.13
TESTERS      := pybind11 setuptools wheel pytest pytest-benchmark pytest-xdist hypothesis
.venv-oldest/.ranges: pyproject.toml tests/packaging/oldest.py | $(VENV)/.requirements
	@test -x .venv-oldest/bin/python || $(PYTHON) -m venv .venv-oldest
	@$(PY) tests/packaging/oldest.py torch=$(OLDEST_TORCH) > .venv-oldest/oldest.txt
	@.venv-oldest/bin/python -m pip --disable-pip-version-check -qq install -r .venv-oldest/oldest.txt
	@touch .venv-oldest/.requirements $@
test-oldest: .venv-oldest/.ranges  ## all tests with the oldest versions that pyproject.toml admits
	@$(MAKE) --no-print-directory test VENV=.venv-oldest

test-pythons:   ## all tests on Python 3.10 and 3.13, where these are
	@code=0; for python in $(PYTHONS); do \
	    $$python -c '' 2>/dev/null || { echo "make test-pythons: $$python is not here"; continue; }; \
	    echo "==> $$python"; $(MAKE) --no-print-directory .venv-$$python/.ranges && \
	    $(MAKE) --no-print-directory test VENV=.venv-$$python || code=1; done; exit $$code
.venv-python%/.ranges: pyproject.toml requirements/dev.txt
	@test -x .venv-python$*/bin/python || python$* -m venv .venv-python$*
	@grep -E '^torch==' requirements/dev.txt > .venv-python$*/constraints.txt  # (which names its own triton)
	@.venv-python$*/bin/python -m pip --disable-pip-version-check -qq install -U pip  # an old one resolves these for hours
	@.venv-python$*/bin/python -m pip --disable-pip-version-check -qq install -c .venv-python$*/constraints.txt \
	    $(TESTERS) "$$($(if $(wildcard $(PY)),$(PY),$(PYTHON)) tests/packaging/oldest.py --ranges)"
	@touch .venv-python$*/.requirements $@

# The libraries themselves, beside the packages of .venv; what a library imports and does not need here is stood in for.
LIBRARIES := .venv-libraries
$(LIBRARIES)/.requirements: requirements/libraries.txt $(VENV)/.installed
	@test -x $(LIBRARIES)/bin/python || $(PY) -m venv $(LIBRARIES)
	@$(PY) -c 'import sysconfig; print("import site; site.addsitedir(%r)" % sysconfig.get_path("purelib"))' \
	    > "$$($(LIBRARIES)/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/base.pth"
	@$(LIBRARIES)/bin/python -m pip --disable-pip-version-check -qq install --no-deps -r requirements/libraries.txt
	@touch $@
test-libraries: $(LIBRARIES)/.requirements  ## accelerate and load beside the real diffusers and lerobot
	@OMP_NUM_THREADS=1 $(LIBRARIES)/bin/python -m pytest -q tests/dropin/test_real_libraries.py $(ARGS)

lint: venv      ## ruff and clang-format, changing nothing
	@$(PY) -m ruff check .
	@$(PY) -m ruff format --check .
	@$(if $(FORMATTED),$(VENV)/bin/clang-format --dry-run -Werror $(FORMATTED))

format: venv    ## what lint asks for, done
	@$(PY) -m ruff check --fix .
	@$(PY) -m ruff format .
	@$(if $(FORMATTED),$(VENV)/bin/clang-format -i $(FORMATTED))

capi:           ## libdiffuser_fast for C and C++, and its examples, in build/capi; needs no Python
	@$(MAKE) --no-print-directory -s -f csrc/capi/Makefile all examples

# N mutations of small bundles of every kind, under AddressSanitizer and UBSan; FIRST is the number of the first.
N     ?= 100000
FIRST ?= 0
fuzz-bundle: build  ## mutated bundles are refused or plan, under AddressSanitizer and UBSan; N=100000
	@$(MAKE) --no-print-directory -s -f csrc/capi/Makefile fuzz
	@rm -rf build/capi/seeds && PYTHONPATH=tests $(PY) -m capi.fuzz_seeds build/capi/seeds
	@FUZZ_AT=build/capi/fuzzing build/capi/fuzz_bundle $(N) $(FIRST) build/capi/seeds/*.dfb || \
	    { echo "make fuzz-bundle: mutation $$(cat build/capi/fuzzing); make fuzz-bundle N=1 FIRST=<that> repeats it" >&2; exit 1; }

# As users install the library: by make and CMake, found by pkg-config, find_package and FetchContent, without Python.
capi-installed: build  ## the library installed by make and CMake, and found in each way
	@$(VENV)/bin/diffuser-fast export maze2d-umaze -o build/umaze.dfb
	@sh tests/capi/installed.sh build/umaze.dfb

bench: build    ## the benchmarks
	@$(VENV)/bin/diffuser-fast bench $(ARGS)

# Hours; interrupted, the same command goes on. make paper ARGS="--workers 2"
paper: build    ## docs/paper.md: scores of the bundled planners beside the paper's, and what speed costs; hours
	@$(PY) -m evaluation.paper $(ARGS)
paper-quick: build  ## the same in little, into build/paper; minutes, and its numbers say nothing
	@$(PY) -m evaluation.paper --quick

# No set-up and no installation: the Python that has torch, named by PYTHON=... or else the first that is found.
TORCH_PYTHON = $(if $(filter command environment,$(firstword $(origin PYTHON))),$(PYTHON),$(shell \
	for p in python3 python $(PY); do $$p -c 'import importlib.util as u, sys; sys.exit(u.find_spec("torch") is None)' \
	2>/dev/null && echo $$p && break; done))
gpu:            ## checks and the suite in nine minutes, on a machine with an NVIDIA GPU; make gpu PYTHON=python3
	@test -n "$(TORCH_PYTHON)" || { echo "make gpu: no Python here has torch (make gpu PYTHON=... names one)" >&2; exit 2; }
	@arch=$$(nvidia-smi --query-gpu=compute_cap --format=csv,noheader 2>/dev/null | head -1 | tr -d .); test -z "$$arch" || \
	    DIFFUSER_FAST_BUILD=cuda DIFFUSER_FAST_CUDA_ARCHS=$$arch $(TORCH_PYTHON) -W ignore setup.py -q build_ext --inplace \
	    >/dev/null || echo "make gpu: goes on without the CUDA engine" >&2
	@$(TORCH_PYTHON) -m bench --gpu $(ARGS)

# Where there is no nvcc, NVIDIA's packages bring one into .venv. Both checks run and report, whatever the first says.
gpu-check: build  ## every GPU kernel compiled for every architecture, without a GPU
	@code=0; OMP_NUM_THREADS=1 $(PY) -m tests.offline.check_kernels $(ARGS) || code=$$?; \
	$(MAKE) --no-print-directory cuda-check || code=$$?; exit $$code
cuda-check: venv  ## the CUDA kernels of these: compiled by nvcc, their machine code read
	@$(PY) -c 'from tests.offline.check_cuda import nvcc; import sys; sys.exit(nvcc() is None)' || \
	    $(PIP) install -r requirements/cuda.txt
	@$(PY) -m tests.offline.check_cuda

arm: build      ## the engine and the C library cross-compiled for AArch64 and tested in QEMU; ARGS=--estimates: cycles
	@$(PY) -m tests.arm.check $(ARGS)

wheel-arm: venv  ## dist/: the wheel for Linux on AArch64, cross-compiled
	@$(PY) -m tests.arm.wheel

wheel: venv     ## dist/: a source distribution, a wheel built from it, and the wheel tried in an empty environment
	@rm -rf dist
	@$(PY) -m build -q --no-isolation --outdir dist .
	@$(PY) tests/packaging/check_wheel.py dist/*.whl

# The package built with sanitizers and its tests, in a folder of their own: the installation stays as it is.
# ThreadSanitizer looks at what threads share: the tests in which they meet. Some kernels place memory where it cannot
# work, so addresses are not randomized. libstdc++ is loaded early as well, because AddressSanitizer must find its
# exception machinery before Python starts. Nothing is captured, so that a report is seen although its process ends. No
# test passed: that is an error.
SANE = build/sanitize-$*
SANE_FLAGS_address    := address,undefined
SANE_PRELOAD_address  := libasan.so libstdc++.so.6
SANE_TESTS_address    := tests/csrc
SANE_FLAGS_thread     := thread
SANE_PRELOAD_thread   := libtsan.so
SANE_TESTS_thread     := tests/csrc/test_threads.py tests/csrc/test_plans.py tests/csrc/test_schedules.py
sanitize: sanitize-address  ## the C++ tests on the scalar engine under AddressSanitizer, UBSan, then ThreadSanitizer
	@if setarch -R true 2>/dev/null; then $(MAKE) --no-print-directory sanitize-thread sanitize-executor; \
	else echo "make sanitize: without ThreadSanitizer, for addresses cannot be fixed here (setarch -R)"; fi
sanitize-address sanitize-thread: sanitize-%: venv
	@rm -rf $(SANE) && mkdir -p $(SANE)
	@cp -R pyproject.toml csrc tests $(SANE)
	@DIFFUSER_FAST_SANITIZE=$(SANE_FLAGS_$*) $(PY) -W ignore setup.py -q build --build-base $(SANE)/temp --build-lib $(SANE)
	@cd $(SANE) && export \
	    LD_PRELOAD="$(foreach library,$(SANE_PRELOAD_$*),$$($(CXX) -print-file-name=$(library)))" \
	    ASAN_OPTIONS=detect_leaks=0 UBSAN_OPTIONS=print_stacktrace=1 TSAN_OPTIONS=die_after_fork=0:exitcode=66 \
	    DIFFUSER_FAST_ISA=scalar OMP_NUM_THREADS=1 PYTHONMALLOC=malloc && \
	run() { $(if $(filter thread,$*),setarch -R) $(abspath $(PY)) "$$@"; } && \
	run -c "from diffuser_fast import _cpu; assert '$(SANE)' in _cpu.__file__, _cpu.__file__" && \
	{ run -m pytest -q -n $(WORKERS) -s --benchmark-disable $(BOUNDS) $(SANE_TESTS_$*) $(ARGS) || touch failed; } 2>&1 | tee log && \
	test ! -e failed && grep -q '[0-9] passed' log && ! grep -q 'WARNING: ThreadSanitizer' log

sanitize-executor: build
	@$(MAKE) --no-print-directory -s -f csrc/capi/Makefile threads
	@rm -rf build/capi/seeds && PYTHONPATH=tests $(PY) -m capi.fuzz_seeds build/capi/seeds
	@TSAN_OPTIONS=exitcode=66 setarch -R build/capi/executor_threads build/capi/seeds/*.dfb

clean:          ## removes what was built; .venv keeps its tools
	@rm -rf build dist *.egg-info $(VENV)/.installed .pytest_cache .ruff_cache .hypothesis .benchmarks
	@find diffuser_fast kernels tests bench examples \( -name '*.so' -o -name '*.pyc' \) -delete 2>/dev/null || true
