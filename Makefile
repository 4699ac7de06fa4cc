# On a fresh machine: `make demo` sets everything up and runs the main job, `make test` sets
# everything up and passes the tests. PYTHON chooses the interpreter (3.11 or later).
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

.PHONY: setup demo test test-plugins check soak zoo bench format clean

setup: $(READY)

# the plugins bring 200 MB of their own, so they wait until their tests are run
PLUGINS := fundus-keras-hub fundus-retfound
PLUGINS_READY := $(VENV)/.plugins

$(READY): pyproject.toml plugins/fundus-example/pyproject.toml
	$(PYTHON) -c "import sys; sys.exit(sys.version_info < (3, 11) and 'fundus needs Python 3.11 or later: make PYTHON=python3.12 …')"
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[dev]'
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps -e plugins/fundus-example
	touch $(READY)

$(PLUGINS_READY): $(READY) $(PLUGINS:%=plugins/%/pyproject.toml)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check $(PLUGINS:%=-e plugins/%)
	touch $(PLUGINS_READY)

demo: setup
	$(BIN)/fundus demo

test: setup
	$(BIN)/python -m pytest -n auto --dist loadfile
	$(MAKE) test-plugins

test-plugins: $(PLUGINS_READY)
	for plugin in fundus-example $(PLUGINS); do (cd plugins/$$plugin && ../../$(BIN)/python -m pytest) || exit 1; done

check: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python -m pytest -q tests/test_docs.py tests/test_architecture.py

# the attacks in full, in under an hour, and their table in docs/reliability.md
soak: setup
	$(BIN)/python -m pytest -m soak -n 2 --dist worksteal --junitxml=soak.xml tests
	$(BIN)/python docs/make_reliability.py soak.xml

zoo: $(PLUGINS_READY)
	$(BIN)/python -m pytest -m zoo
	for plugin in $(PLUGINS); do (cd plugins/$$plugin && ../../$(BIN)/python -m pytest -m zoo) || exit 1; done

# make bench DATA=folder [BENCH="--only B D --resume"]; see benchmarks/README.md
bench: setup
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[bench]'
	$(BIN)/python -m benchmarks $(if $(DATA),--data '$(DATA)') $(BENCH)

format: setup
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache
