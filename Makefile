# make repro   set up, run the whole pipeline, print the results
# make test    set up, run the tests
# make check   ruff, format and types
# make smoke   the real DAG at tiny size, in a temporary folder
# make bench   every benchmark, with what `make repro` made
# make setup   only the environment

PYTHON ?= python3
VENV := .venv
READY := $(VENV)/ready
# GOMP_SPINCOUNT: threads that wait for each other spin for some 50 microseconds before they sleep. To sleep at once costs a
# quarter of the time on idle cores, to spin for long costs more than that on busy ones.
# MALLOC_…: glibc keeps what was freed instead of asking the system for zeroed pages at every training step (10 % faster)
IN := PATH="$(CURDIR)/$(VENV)/bin:$$PATH" GOMP_SPINCOUNT=20000 \
	MALLOC_MMAP_THRESHOLD_=4000000000 MALLOC_TRIM_THRESHOLD_=4000000000

.PHONY: setup repro test check smoke bench clean

setup: $(READY)

$(READY): requirements.lock pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed: make PYTHON=python3.11 setup")'
	$(PYTHON) -m venv $(VENV)
	$(VENV)/bin/pip install --quiet --disable-pip-version-check -r requirements.lock
	$(VENV)/bin/pip install --quiet --disable-pip-version-check --no-deps --editable .
	touch $(READY)

repro: $(READY)
	$(IN) dvc repro
	@$(IN) learn2talk results

test: $(READY)
	$(IN) pytest

check: $(READY)
	$(IN) ruff check .
	$(IN) ruff format --check .
	$(IN) mypy

smoke: $(READY)
	$(IN) python -m scripts.smoke

bench: $(READY)
	@for file in benchmarks/*.py; do name=$$(basename $$file .py); echo "== $$name"; $(IN) python -m benchmarks.$$name || exit 1; done

clean:
	rm -rf $(VENV) .scratch
