# One line each; CONTRIBUTING.md says when. PYTHON=.venv/bin/python by default, made by `make venv`.
PYTHON ?= .venv/bin/python
.PHONY: venv run test lint format interop autobahn fuzz bench soak coverage screenshot wire-picture status-picture pictures release ci clean

venv: ; python3 -m venv .venv && .venv/bin/pip install -q -e '.[test,dev]'
run: ; $(PYTHON) -m redbarrel_lite examples/chat/chat.rbr
test: ; $(PYTHON) -m pytest -m 'not interop'
lint: ; $(PYTHON) -m ruff check . && $(PYTHON) -m ruff format --check . && $(PYTHON) -m mypy
format: ; $(PYTHON) -m ruff check --fix . && $(PYTHON) -m ruff format .
interop: tests/interop/node_modules ; $(PYTHON) -m pytest -m interop
tests/interop/node_modules: tests/interop/package-lock.json ; npm ci --prefix tests/interop --silent && touch $@
autobahn: ; $(PYTHON) tests/interop/run_autobahn.py
fuzz: ; $(PYTHON) -m tests.fuzz all
bench: ; $(PYTHON) bench/run.py
soak: ; $(PYTHON) tests/soak.py
coverage: ; $(PYTHON) -m coverage run -m pytest -m 'not interop'; $(PYTHON) -m coverage combine -q && $(PYTHON) -m coverage report
screenshot: tests/interop/node_modules ; node tests/interop/screenshot.cjs http://127.0.0.1:8000 docs/chat.png  # while `make run` runs
wire-picture: tests/interop/node_modules ; node tests/interop/wire.cjs http://127.0.0.1:8000 docs/wire.png  # while `make run` runs, with --debug
status-picture: tests/interop/node_modules ; node tests/interop/status.cjs http://127.0.0.1:8000 docs/status.png  # while the gallery runs, with --status
pictures: tests/interop/node_modules ; PYTHON=$(abspath $(PYTHON)) node tests/interop/pictures.cjs  # of the examples
release: ; mkdir -p dist && $(PYTHON) -m redbarrel_lite bundle -o dist/redbarrel_lite.pyz
ci: ; CI=true bash .ci/run
clean: ; rm -rf build dist *.egg-info .venv .pytest_cache .mypy_cache .ruff_cache .coverage* tests/interop/node_modules
