# On a fresh machine: `make demo` sets everything up and runs the main job, `make test` sets
# everything up and passes the tests that take a second or two each, `make test-slow` the others.
# PYTHON chooses the interpreter (3.11 or later).
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

.PHONY: setup demo test test-slow test-plugins test-beside test-oldest check audit docs pictures soak zoo bench
.PHONY: format clean

setup: $(READY)

# the plugins bring 200 MB of their own, so they wait until their tests are run
PLUGINS := fundus-keras-hub fundus-retfound
PLUGINS_READY := $(VENV)/.plugins

# small plugins, which come with the package
SMALL_PLUGINS := fundus-example fundus-idrid

$(READY): pyproject.toml $(SMALL_PLUGINS:%=plugins/%/pyproject.toml)
	$(PYTHON) -c "import sys; sys.exit(sys.version_info < (3, 11) and 'fundus needs Python 3.11 or later: make PYTHON=python3.12 …')"
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[dev]'
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps $(SMALL_PLUGINS:%=-e plugins/%)
	touch $(READY)

$(PLUGINS_READY): $(READY) $(PLUGINS:%=plugins/%/pyproject.toml)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check $(PLUGINS:%=-e plugins/%)
	touch $(PLUGINS_READY)

# what docs/beside-others.md is about, which waits as well
BESIDE_READY := $(VENV)/.beside

$(BESIDE_READY): $(READY)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[beside]'
	touch $(BESIDE_READY)

demo: setup
	$(BIN)/fundus demo

# CI runs all tests at once, make test MARKS='not zoo and not soak'
MARKS := not slow and not zoo and not soak

test: setup
	$(BIN)/python -m pytest -n auto --dist loadfile -m '$(MARKS)'
	for plugin in $(SMALL_PLUGINS); do (cd plugins/$$plugin && ../../$(BIN)/python -m pytest) || exit 1; done

test-slow: setup
	$(BIN)/python -m pytest -n auto --dist loadfile -m 'slow and not zoo and not soak'
	$(MAKE) test-plugins

test-plugins: $(PLUGINS_READY)
	for plugin in $(PLUGINS); do (cd plugins/$$plugin && ../../$(BIN)/python -m pytest -n auto) || exit 1; done

# the recipes with other libraries; after the other tests, as MLflow asks for an older importlib_metadata
test-beside: $(BESIDE_READY)
	$(BIN)/python -m pytest -m 'slow or not slow' tests/test_beside.py

check: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python -m pytest -q tests/test_docs.py tests/test_architecture.py
	$(MAKE) audit

# uv finds the oldest versions, pip-audit asks for known holes; both are kept apart from the package
TOOLS := .venv-tools
TOOLS_READY := $(TOOLS)/.ready
OLDEST := .venv-oldest
PINNED := $(TOOLS)/oldest.txt

$(TOOLS_READY):
	$(PYTHON) -m venv $(TOOLS)
	$(TOOLS)/bin/python -m pip install --quiet --disable-pip-version-check uv pip-audit
	touch $@

$(PINNED): $(TOOLS_READY) pyproject.toml
	$(TOOLS)/bin/uv pip compile --quiet --resolution lowest-direct --python $(PYTHON) --extra dev --extra docs pyproject.toml -o $@

# without a network it says that nothing was checked, and `make check` goes on
audit: setup
	if $(MAKE) $(TOOLS_READY); then \
	  $(BIN)/python -m pip freeze --exclude-editable | grep == > $(TOOLS)/installed.txt; \
	  $(TOOLS)/bin/python tools/audit.py $(TOOLS)/installed.txt; \
	else echo 'not checked: pip-audit cannot be installed (no network?)'; fi

# the oldest versions that pyproject.toml allows; TESTS="tests/test_x.py ..." for some of the tests
test-oldest: $(PINNED)
	$(TOOLS)/bin/uv venv --quiet --clear --seed --python $(PYTHON) $(OLDEST)
	$(TOOLS)/bin/uv pip install --quiet --python $(OLDEST)/bin/python -r $(PINNED)
	$(TOOLS)/bin/uv pip install --quiet --python $(OLDEST)/bin/python --no-deps -e . $(SMALL_PLUGINS:%=-e plugins/%)
	# old packages warn of what newer ones below them have renamed, and of models that newer ones saved
	PYTHONWARNINGS=ignore::DeprecationWarning \
	$(OLDEST)/bin/python -m pytest -n auto --dist loadfile -m 'not zoo and not soak' -W ignore::DeprecationWarning \
		-W ignore::sklearn.exceptions.InconsistentVersionWarning $(TESTS)

# the attacks in full, in under an hour, and their table in docs/reliability.md
soak: setup
	$(BIN)/python -m pytest -m soak -n 2 --dist worksteal --junitxml=soak.xml tests
	$(BIN)/python docs/make_reliability.py soak.xml

zoo: $(PLUGINS_READY)
	$(BIN)/python -m pytest -m zoo
	for plugin in $(PLUGINS); do (cd plugins/$$plugin && ../../$(BIN)/python -m pytest -m zoo) || exit 1; done

# the site, in docs/_build/html; a warning, such as of a link that leads nowhere, is an error
docs: setup
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[docs]'
	$(BIN)/python -m sphinx -q -W --keep-going -b html docs docs/_build/html
	@echo 'the pages are in docs/_build/html/index.html'

# the pictures of README and docs; IDRiD's labels.csv gives the severities, all photographs are synthetic
pictures: setup
	test -n '$(LABELS)' || { echo 'make pictures LABELS=labels.csv'; exit 1; }
	rm -rf runs/pictures && mkdir -p runs/pictures
	$(BIN)/fundus train '$(LABELS)' --patients-unknown ok --out runs/pictures/run
	$(BIN)/fundus demo --out runs/pictures/demo
	$(BIN)/python docs/make_overview.py runs/pictures/run
	$(BIN)/python docs/make_screenshot.py runs/pictures/demo/run
	for picture in border maps views; do $(BIN)/python docs/make_$$picture.py || exit 1; done

# make bench DATA=folder [BENCH="--only B D --resume"]; see benchmarks/README.md
bench: setup
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[bench]'
	$(BIN)/python -m benchmarks $(if $(DATA),--data '$(DATA)') $(BENCH)

format: setup
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:
	rm -rf $(VENV) $(TOOLS) $(OLDEST) docs/_build docs/generated docs/gallery .pytest_cache .mypy_cache .ruff_cache
