# make repro   set up, run the whole pipeline, print the results
# make test    set up, run the tests
# make check   check style, format and types (ruff, mypy)
# make smoke   run both pipelines at tiny size, in a temporary folder
# make weights run the pipeline in pretraining/ (hours) and package its networks in weights/
# make compare train all networks alike and write docs/comparison.md, on the experts of `make repro` (about five hours of one thread; resumes)
# make tables  make Learn2Talk's Tables III and V over three seeds: nine runs as DVC experiments (hours)
# make bench   run the benchmarks that need nothing but the results of `make repro`
# make setup   only set up the environment

PYTHON ?= python3
VENV := .venv
READY := $(VENV)/ready
# GOMP_SPINCOUNT: threads that wait for each other spin for about 50 microseconds before they sleep. Sleeping at once costs
# a quarter of the time on idle cores; spinning for long costs more than that on busy cores.
# OPENBLAS_NUM_THREADS: NumPy's threads spin for some 20 ms after each matrix product, on the cores that torch's need.
IN := PATH="$(CURDIR)/$(VENV)/bin:$$PATH" GOMP_SPINCOUNT=20000 OPENBLAS_NUM_THREADS=1
# Trainings are 10 % faster if glibc keeps freed memory instead of requesting zeroed pages from the system at every step.
# Tests of many sizes would keep gigabytes.
TRAINING := $(IN) MALLOC_MMAP_THRESHOLD_=4000000000 MALLOC_TRIM_THRESHOLD_=4000000000

# real_speech needs recordings, phoneme_times a forced aligner, teacher_bound the films of pretraining
BENCHMARKS = $(filter-out real_speech phoneme_times teacher_bound,$(basename $(notdir $(wildcard benchmarks/*.py))))

.PHONY: setup repro test check smoke weights compare tables bench clean

setup: $(READY)

$(READY): requirements.lock pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed: make PYTHON=python3.11 setup")'
	$(PYTHON) -m venv $(VENV)
	$(VENV)/bin/pip install --quiet --disable-pip-version-check -r requirements.lock
	$(VENV)/bin/pip install --quiet --disable-pip-version-check --no-deps --editable .
	touch $(READY)

repro: $(READY)
	$(TRAINING) dvc repro
	@$(IN) learn2talk results

# A process per core, each with one thread: two threads that wait for each other on a busy core are slower than one.
test: $(READY)
	$(IN) OMP_NUM_THREADS=1 pytest --numprocesses auto --dist loadfile

check: $(READY)
	$(IN) ruff check .
	$(IN) ruff format --check .
	$(IN) mypy

smoke: $(READY)
	$(TRAINING) python -m scripts.smoke

weights: $(READY)
	cd pretraining && $(TRAINING) dvc repro
	$(IN) python -m scripts.package_weights

compare: $(READY)
	$(TRAINING) python -m scripts.compare

tables: $(READY)
	$(TRAINING) python -m scripts.tables --seeds 0 1 2

bench: $(READY)
	@for name in $(BENCHMARKS); do echo "== $$name"; $(TRAINING) python -m benchmarks.$$name || exit 1; done

clean:
	rm -rf $(VENV) .scratch pretraining/.scratch
