# `make demo` and `make test` set up what they need in .venv, from a fresh clone.

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
# Two test processes; each library keeps to one thread so that they do not disturb each other.
JOBS ?= 2

.DEFAULT_GOAL := help
.PHONY: help demo detector docs picture test test-all lint types unit long full fuzz mutants faults random runtime-bugs tune \
	bench-trust bench-export accuracy-plot bench-forms bench-passes bench-quantisation bench-sizes \
	bench-precisions bench-existing devices device-results coverage \
	wheel format train clean

help:
	@echo "make demo    export the trained digits model to every format, prove and run the files"
	@echo "make detector  deploy a detector written in PyTorch, through the Python API"
	@echo "make test    lint, check types and run the tests that tell whether anything broke"
	@echo "make test-all  the same, then the long tests: sweeps, full sizes, more mutants"
	@echo "make full    run every pair of network, form and format, for an hour; see docs/architecture.md"
	@echo "make coverage  lines and branches that the tests reach, for an hour; at least 90 % of each"
	@echo "make mutants damage valid files in every way and print who sees it"
	@echo "make fuzz    feed 10,000 damaged files to every reader; see docs/security.md"
	@echo "make faults  let disks fill, processes end and names be odd, and count what is lost"
	@echo "make random  a thousand random networks that no test has seen, through all passes"
	@echo "make runtime-bugs  run every pattern that is written on every runtime, where sizes coincide"
	@echo "make tune    race the forms of the attention on this machine for the table in the wheel"
	@echo "make bench-trust  measure the benchmark itself, for half an hour; see docs/trust.md"
	@echo "make bench-export  race our files against their baselines, for an hour; see docs/performance.md"
	@echo "make accuracy-plot  race networks of known accuracy and draw it beside their latency"
	@echo "make bench-forms  race small networks in every form, for half an hour; see docs/tuning.md"
	@echo "make bench-passes  race networks with and without each pass, for half an hour; see docs/passes.md"
	@echo "make bench-quantisation  race families of operators in int8; see docs/quantised-operators.md"
	@echo "make bench-sizes  export every published size to every format, for an hour; see docs/models.md"
	@echo "make bench-precisions  what each precision costs a trained model; see docs/precision.md"
	@echo "make bench-existing  race folded files of PyTorch's exporters; see docs/existing-files.md"
	@echo "make devices test LiteRT, ExecuTorch and Core AI, in an environment of their own"
	@echo "make device-results  check the results in docs/devices and write their table"
	@echo "make docs    build the documentation as a site, in build/site"
	@echo "make picture draw the picture at the top of the README"
	@echo "make wheel   build the wheel, with ONNX Runtime Web for pages in it"
	@echo "make format  format the code"
	@echo "make train   train the models of the examples again, for half an hour"

# LiteRT, ExecuTorch and Core AI see the packages of the first environment and add theirs: there they
# would make every import of coremltools, which asks for them, three times as long.
DEVICES ?= $(VENV)-devices
$(DEVICES)/.installed: $(VENV)/.installed constraints-devices.txt
	$(BIN)/python -m venv $(DEVICES)
	$(BIN)/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))' \
		> "$$($(DEVICES)/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/first.pth"
	$(DEVICES)/bin/python -m pip install --quiet --disable-pip-version-check --no-deps \
		-r constraints-devices.txt
	@touch $@

$(VENV)/.installed: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "Python 3.11 or newer is needed: make PYTHON=python3.11 ..."; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[all,dev,docs]'
	@touch $@

demo: $(VENV)/.installed
	$(BIN)/slide-deploy export examples/digits.pth --to all --out build/demo --force
	$(BIN)/python examples/classify_digits.py build/demo

detector: $(VENV)/.installed
	$(BIN)/python examples/deploy_detector.py --out build/detector

# A broken link or anchor, or a page that no menu names, is an error.
docs: $(VENV)/.installed
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict

# The network is that of the example, whose attention is a class of its own.
picture: $(VENV)/.installed
	rm -rf build/picture && mkdir -p build/picture
	cp examples/deploy_detector.py build/picture/detector.py
	cd build/picture && ../../$(BIN)/python ../../docs/picture.py ../../docs/images/export.svg \
		../../$(BIN)/slide-deploy export --model detector.py:Detector --input 1x3x96x128 --to all

test: lint types unit

# `make test test-all` runs nothing twice.
test-all: test long devices

lint: $(VENV)/.installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/.installed
	$(BIN)/mypy

PYTEST := OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(JOBS) --dist worksteal
unit: $(VENV)/.installed
	$(PYTEST) -m "not slow and not full and not devices"

long: $(VENV)/.installed
	$(PYTEST) -m "slow and not full and not devices"

# Tests of LiteRT, ExecuTorch and Core AI, in the environment that has them.
devices: $(DEVICES)/.installed
	OMP_NUM_THREADS=1 $(DEVICES)/bin/python -m pytest -n $(JOBS) --dist worksteal \
		-m "devices and not full"

# Close to an hour, so that continuous integration leaves it out.
coverage: $(DEVICES)/.installed
	rm -f .coverage
	$(PYTEST) -m "not full and not devices" --cov --cov-report=
	OMP_NUM_THREADS=1 $(DEVICES)/bin/python -m pytest -n $(JOBS) --dist worksteal \
		-m "devices and not full" --cov --cov-append --cov-report=
	mkdir -p build
	$(BIN)/python -m coverage json -q -o build/coverage.json
	$(BIN)/python -m tests.covered build/coverage.json

# Rarely finds more than the above, which meets whatever is paired here with something else.
full: $(DEVICES)/.installed
	$(PYTEST) -m "full and not devices"
	OMP_NUM_THREADS=1 $(DEVICES)/bin/python -m pytest -n $(JOBS) --dist worksteal \
		-m "full and devices"

mutants: $(VENV)/.installed
	OMP_NUM_THREADS=1 $(BIN)/python -m tests.mutants

# With FAULT_FLAGS=--full a hundred random moments for each format; see docs/faults.md.
faults: $(VENV)/.installed
	OMP_NUM_THREADS=1 $(BIN)/python -m tests.faults --out docs/faults.md $(FAULT_FLAGS)

# Other programs each time, or those of a seed again: make random SEED=7.
SEED ?= random
random: $(VENV)/.installed
	SLIDE_DEPLOY_SEED=$(SEED) $(PYTEST) tests/passes/test_random_programs.py

# Guided by atheris where it is installed: .venv/bin/python -m pip install atheris
FUZZ_FLAGS ?=
fuzz: $(VENV)/.installed
	OMP_NUM_THREADS=1 $(BIN)/python -m tests.fuzz --out docs/security.md $(FUZZ_FLAGS)

runtime-bugs: $(VENV)/.installed
	OMP_NUM_THREADS=1 $(BIN)/python -m tests.runtime_bugs

# 64 images a call take milliseconds: less would time Python and the clock.
bench-trust: $(VENV)/.installed
	$(BIN)/slide-deploy export examples/digits.pth --to onnx --to openvino --dynamic-batch \
		--out build/trust --force
	$(BIN)/python -m studies.trust build/trust/digits.onnx build/trust/digits.xml \
		--batch 64 --out docs/trust.md

# A run for each suite: what is in one is interleaved. A candidate that fails does not stop the rest.
BENCH_FLAGS ?= --rounds 12 --seconds 5
SUITES ?= $(basename $(notdir $(wildcard benchmarks/baselines/*.toml)))
bench-export: $(VENV)/.installed
	mkdir -p build/performance
	for suite in $(SUITES); do \
		$(BIN)/slide-deploy bench --suite benchmarks/baselines/$$suite.toml $(BENCH_FLAGS) \
			--json build/performance/$$suite.json || test $$? -eq 1 || exit; \
	done
	$(BIN)/python -m studies.performance build/performance --out docs/performance.md \
		--headline README.md --pictures docs/images

# The plots of accuracy alone.
accuracy-plot: $(VENV)/.installed
	mkdir -p build/performance
	$(BIN)/slide-deploy bench --suite benchmarks/baselines/accuracy.toml $(BENCH_FLAGS) \
		--json build/performance/accuracy.json || test $$? -eq 1
	$(BIN)/python -m benchmarks.report.picture build/performance/accuracy.json \
		--out docs/images

# Every published size to every format, for an hour or two. What was finished before is not made again.
bench-sizes: $(VENV)/.installed
	mkdir -p build/sizes
	$(BIN)/python -m studies.sizes build/sizes --out docs/models.md $(SIZE_FLAGS)

# The larger example in every format and precision, on digits that it has never seen.
bench-precisions: $(VENV)/.installed
	$(BIN)/python examples/mnist_data.py build/mnist
	$(BIN)/python -m benchmarks.precisions examples/mnist.pth --data build/mnist/held-out \
		--calibration build/mnist/training --files build/precisions --out docs/precision.md

# Files that PyTorch's exporters write, folded and as they are, beside our export of the same
# checkpoint. EXISTING="slide_swin_tiny" for some.
EXISTING ?= slide_swin_tiny slide_pvt_tiny slide_pvt_v2_b1 slide_cswin_tiny slide_nat_mini
EXISTING_FLAGS ?= --rounds 12 --seconds 5
bench-existing: $(VENV)/.installed
	mkdir -p build/existing
	test -f build/existing/slide_swin_tiny.pth || $(BIN)/python tests/golden/make_checkpoint.py \
		slide_swin_tiny build/existing/slide_swin_tiny.pth
	$(BIN)/python -m studies.existing.files build/existing \
		$(addprefix --network ,$(EXISTING))
	for network in $(EXISTING); do \
		$(BIN)/slide-deploy bench --suite build/existing/$$network.toml $(EXISTING_FLAGS) \
			--json build/existing/$$network.json || test $$? -eq 1 || exit; \
	done
	$(BIN)/python -m studies.existing build/existing --out docs/existing-files.md

# What people sent in from their devices; see docs/devices.md.
device-results: $(VENV)/.installed
	$(BIN)/python -m studies.devices docs/devices --out docs/devices.md

# Is what auto takes the fastest form of the whole network? A candidate that fails does not stop the
# rest; the page names it.
FORM_SUITES ?= $(basename $(notdir $(wildcard studies/forms/*.toml)))
FORM_FLAGS ?= --rounds 12 --seconds 1 --threads 2
bench-forms: $(VENV)/.installed
	mkdir -p build/forms
	for suite in $(FORM_SUITES); do \
		$(BIN)/slide-deploy bench --suite studies/forms/$$suite.toml $(FORM_FLAGS) \
			--json build/forms/$$suite.json || test $$? -eq 1 || exit; \
	done
	$(BIN)/python -m studies.forms build/forms --out docs/tuning.md

# What does each rewrite of a traced network give? PASS_NETWORKS="--network vit_small" for some.
PASS_NETWORKS ?=
PASS_FLAGS ?= --processes 3 --rounds 8 --seconds 1.6
bench-passes: $(VENV)/.installed
	$(BIN)/python -m studies.passes.files build/passes $(PASS_NETWORKS)
	$(BIN)/python -m studies.passes build/passes $(PASS_NETWORKS) $(PASS_FLAGS) \
		--out docs/passes.md

# Which families of operators gain in int8, and what does each cost?
QUANTISATION_FLAGS ?= --rounds 12 --seconds 4
bench-quantisation: $(VENV)/.installed
	$(BIN)/python -m studies.quantisation.files build/quantisation
	$(BIN)/python -m studies.quantisation build/quantisation $(QUANTISATION_FLAGS) \
		--out docs/quantised-operators.md

# Half an hour on an idle machine. Strips cost synchronisation and pay at high resolution, where
# each makes the export longer: there the two forms that lead elsewhere are raced.
TUNE := slide-deploy tune --target onnxruntime:cpu --target openvino:cpu --threads 2 \
	--out slide_deploy/tuning/defaults.json
TUNE_DEVICES := slide_deploy tune --target litert:cpu --target executorch:xnnpack --threads 2 \
	--out slide_deploy/tuning/defaults.json
# Slide stages of PVT, PVTv2-B0, CSWin and NAT.
OTHER_HOSTS := 64x56x56:d64 128x28x28:d64 32x56x56 64x56x56 128x28x28 96x56x56:d24 \
	192x28x28:d24
# Maps for which every operator costs more than its numbers: those of the digits model and of
# tests/golden, and steps of a factor of four between them and those above.
SMALL := 16x8x8:d8 8x16x16:d8 16x8x8:k5:d8 8x16x16:k5:d8 32x4x4:d8 16x16x16:d8 8x32x32:d8 \
	32x8x8 64x14x14 32x28x28 96x28x28 64x32x32:k5
tune: $(DEVICES)/.installed
	$(BIN)/$(TUNE) --strips 1,2 --attention 96x56x56 --attention 192x28x28 \
		--attention 128x56x56 --attention 256x28x28 \
		--attention 96x56x56:nchw --attention 128x56x56:nchw
	$(BIN)/$(TUNE) --strips 1 --precision int8 --attention 96x56x56 --attention 192x28x28
	for size in 96x56x56 192x28x28 16x8x8:d8 8x32x32:d8 32x28x28 64x14x14; do \
		$(DEVICES)/bin/python -m $(TUNE_DEVICES) --strips 1 --attention $$size || exit; done
	for size in $(OTHER_HOSTS); do $(BIN)/$(TUNE) --strips 1 --attention $$size || exit; done
	$(BIN)/$(TUNE) --strips 1,10,20 --form running-mean --form flat \
		--attention 96x200x200:nchw --attention 128x200x200:nchw
	for size in $(SMALL); do $(BIN)/$(TUNE) --strips 1 --attention $$size || exit; done

# What pages need comes from npm's registry, held against its hash; it is not committed.
wheel: $(VENV)/.installed
	$(BIN)/python -m slide_deploy.backends.web.assets
	$(BIN)/python -m build --wheel

format: $(VENV)/.installed
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

train: $(VENV)/.installed
	$(BIN)/python examples/train.py digits --out examples/digits.pth
	$(BIN)/python examples/train.py mnist --out examples/mnist.pth

clean:
	rm -rf build dist slide_deploy/backends/web/runtime .mypy_cache .pytest_cache .ruff_cache $(VENV)
