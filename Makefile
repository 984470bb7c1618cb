# `make demo` and `make test` on a fresh clone do everything: environment, installation, run.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
RUNS := $(VENV)/.runs

.PHONY: demo test test-kernels test-slow fuzz lint docs docs-site notebooks dist bench table clean

demo: $(RUNS)
	$(BIN)/farfield demo

test: $(STAMP)
	$(BIN)/python -m pytest

test-slow: $(STAMP)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[notebooks]'
	$(BIN)/python -m pytest -m slow

# With the kernels of other processors, which round otherwise: without vectors, with AVX2, and with AVX-512 where it is.
# oneDNN held to AVX2 on a processor with bfloat16 crashes in torch's own backward pass, so there it keeps its kernels.
test-kernels: $(STAMP)
	ATEN_CPU_CAPABILITY=default ONEDNN_MAX_CPU_ISA=SSE41 $(BIN)/python -m pytest
	ATEN_CPU_CAPABILITY=avx2 $(BIN)/python -m pytest
	ATEN_CPU_CAPABILITY=avx512 $(BIN)/python -m pytest

# As long as you like: make fuzz SECONDS=3600
SECONDS ?= 300
fuzz: $(STAMP)
	$(BIN)/python tests/fuzz.py $(SECONDS)

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check --quiet .
	$(BIN)/mypy
	$(BIN)/lint-imports

# What is made from the declarations of the commands.
docs: $(STAMP)
	$(BIN)/python docs/generate.py

# The notebooks, run and kept with what their cells gave.
notebooks: $(STAMP)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[notebooks]'
	$(BIN)/python docs/notebook.py

# The site: build/site/index.html, which works from a folder. A warning ends it.
docs-site: $(STAMP)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[docs]'
	$(BIN)/python docs/site.py
	$(BIN)/mkdocs build --quiet --strict

# What would be published, checked: dist/.
dist: $(STAMP)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check build twine
	$(BIN)/python -m build
	$(BIN)/twine check --strict dist/*

bench: $(STAMP)
	$(BIN)/python -m benchmarks

# "What to expect" and docs/reach.md, measured again: days. make table DRY=1 prints the commands; DATA=FOLDER has the other domains.
table: $(STAMP)
	$(BIN)/python -m benchmarks.expect $(DATA) $(if $(DRY),--dry)

# What running needs, and no more; pip shows it.
$(RUNS): pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --disable-pip-version-check --constraint constraints.txt --editable .
	touch $@

$(STAMP): pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev]'
	touch $@

clean:
	rm -rf $(VENV) runs
