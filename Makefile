# Every target first sets up a virtual environment with the exact versions of constraints.txt; nothing else is needed.
#     make quickstart    the complete example on a CPU, offline, in minutes
#     make test          the tests
PYTHON ?= python3
VENV ?= .venv
# Two processes, one file at a time, because fixtures that train a model serve all tests of their file.
PYTEST_ARGS ?= -n 2 --dist loadfile
BIN := $(VENV)/bin
READY := $(VENV)/.ready
TORCH := torch==2.13.0

.PHONY: quickstart quickstart-seeds real test test-slow check extras format schema constraints bench gpu-wheels clean

quickstart: $(READY)
	$(BIN)/summtune run recipes/quickstart.yaml

# Runs the quickstart with three seeds and writes docs/quickstart.md from the results.
quickstart-seeds: $(READY)
	$(BIN)/python scripts/quickstart_seeds.py

# SmolLM2-135M-Instruct on DialogSum, prompted and trained: docs/real_model.md. About two hours on two cores; needs
# pip's registry, from which the model comes, and DialogSum in SUMMTUNE_TEST_DATA. Resumes where it was stopped.
real: $(READY)
	$(BIN)/python -m scripts.real_model

test: $(READY)
	$(BIN)/python -m pytest $(PYTEST_ARGS)

# The tests that `make test` leaves out because they take long.
test-slow: $(READY)
	$(BIN)/python -m pytest $(PYTEST_ARGS) -m slow --slow

check: $(READY)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo
	$(BIN)/summtune schema | diff - recipes/recipe.schema.json || (echo "recipes/recipe.schema.json is out of date; run make schema" && exit 1)
	$(BIN)/summtune schema --markdown | diff - docs/recipe_keys.md || (echo "docs/recipe_keys.md is out of date; run make schema" && exit 1)
	$(BIN)/summtune validate recipes/*.yaml recipes/*/*.yaml

# The table of docs/performance.md, in minutes; needs DialogSum and a model with FLAN-T5's shape in SUMMTUNE_TEST_DATA.
bench: $(READY)
	$(BIN)/python benchmarks/speed.py --runs 3 --out benchmarks/results

# Trackers: tests that need them are skipped without.
extras: $(READY)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[dev,tracking]' -c constraints.txt

# What benchmarks/gpu.py needs on a GPU machine without network: make gpu-wheels THERE=pip-list.txt (CONTRIBUTING.md).
gpu-wheels: $(READY)
	$(BIN)/python scripts/gpu_wheels.py wheels $(if $(THERE),--there $(THERE))

format: $(READY)
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

schema: $(READY)
	$(BIN)/summtune schema > recipes/recipe.schema.json.new
	mv recipes/recipe.schema.json.new recipes/recipe.schema.json
	$(BIN)/summtune schema --markdown > docs/recipe_keys.md.new
	mv docs/recipe_keys.md.new docs/recipe_keys.md

# torch is installed first and alone, so that a later step finds it satisfied and does not install another build.
$(READY): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; v = sys.version_info[:2]; sys.exit(0 if (3, 10) <= v < (3, 14) else "summtune needs Python 3.10 to 3.13 (got %d.%d); make PYTHON=python3.12 uses another one" % v)'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check $(TORCH) -c constraints.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[dev]' -c constraints.txt
	@touch $@

# Updates the exact versions: the newest that work together, one set for all supported versions of Python.
constraints:
	$(PYTHON) -m venv $(VENV)-constraints
	$(VENV)-constraints/bin/pip install --quiet uv
	echo '# Exact versions of everything that `make` installs, for Python 3.10 to 3.13. Made by `make constraints`.' > constraints.txt
	echo '$(TORCH)' | $(VENV)-constraints/bin/uv pip compile pyproject.toml --extra dev --extra endpoint --extra qlora --extra tracking --universal --python-version 3.10 \
		-c - --no-annotate --no-header --quiet >> constraints.txt
	rm -rf $(VENV)-constraints

clean:
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .import_linter_cache
