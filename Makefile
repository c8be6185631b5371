# Everything a fresh clone needs: the targets make .venv themselves, from any Python >= 3.11 on the path.
# ARGS reaches the program: make run ARGS=5000, make test ARGS="tests/unit -k hostname". PYTHON=… chooses the interpreter.

.DEFAULT_GOAL := help
.PHONY: help run test test-applications test-compiled test-pythons compiled pure check bench format constraints clean

# The tests start a thousand processes of the gateway. Where nothing may keep what Python has compiled, each compiles all of it.
unexport PYTHONDONTWRITEBYTECODE

VENV := .venv
MEASURED := .venv-bench
PIP := $(VENV)/bin/python -m pip --disable-pip-version-check
# Stamps, so that a second call installs nothing: the program alone, and the program with its tools.
RUNTIME := $(VENV)/.installed
TOOLS := $(VENV)/.installed-tools

help: ## this list
	@sed -n 's/^\([a-z-]*\):.*## /\1|/p' Makefile | while IFS='|' read -r target what; do \
		printf '  make %-18s %s\n' "$$target" "$$what"; done

run: $(RUNTIME) ## the gateway on this machine, with a local CA and a demo app
	@$(VENV)/bin/gateway dev $(ARGS)

test: $(TOOLS) ## everything the tests need, then all tests
	@if [ -f tests/setup.sh ]; then bash tests/setup.sh; fi
	@$(VENV)/bin/python -m tests.run $(ARGS)

test-applications: $(TOOLS) ## real applications through the gateway, the large ones too
	@bash tests/setup.sh applications
	@$(VENV)/bin/python -m tests.run tests/applications -m "" $(ARGS)

# Asked of .venv's Python, which finds the others; each gets an environment under .venv-pythons/.
test-pythons: $(TOOLS) ## the tests on every supported Python of this machine (ARGS=--ends: the oldest and the newest)
	@if [ -f tests/setup.sh ]; then bash tests/setup.sh; fi
	@$(VENV)/bin/python tests/pythons.py $(ARGS)

# Tests with fakes in the place of what is compiled (`tests/run.py`) would prove nothing more than `make test` has.
test-compiled: compiled ## the hot path compiled, the tests of what passes through it, and back to plain Python
	@if [ -f tests/setup.sh ]; then bash tests/setup.sh; fi
	@$(VENV)/bin/python -m pytest $(ARGS); status=$$?; $(VENV)/bin/python config/build/compile.py --clean; exit $$status

# Tests are not part of it: .ci/run calls both, and running them twice would prove nothing more.
check: $(TOOLS) ## format, lint, types, import contracts
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/ruff check .
	$(VENV)/bin/mypy
	$(VENV)/bin/lint-imports

bench: $(MEASURED)/.installed ## both builds beside nginx, HAProxy, Caddy and Go (ARGS=--quick for a glance)
	@$(MEASURED)/bin/python -m bench $(ARGS)

compiled: $(TOOLS) ## compile the hot path in place (needs a C compiler; make pure undoes it)
	@$(VENV)/bin/python config/build/compile.py

pure: $(TOOLS) ## back to plain Python
	@$(VENV)/bin/python config/build/compile.py --clean

format: $(TOOLS) ## rewrite the sources in the project's format, with the safe fixes of lint
	$(VENV)/bin/ruff check --fix-only .
	$(VENV)/bin/ruff format .

# In an environment of its own, so that nothing installed by hand is pinned. Only names and versions are kept.
constraints: $(RUNTIME) ## newest versions of everything, pinned anew: constraints.txt, and the image's with hashes
	@set -e; scratch=$$(mktemp -d); trap 'rm -rf "$$scratch"' EXIT; \
	$(VENV)/bin/python -m venv "$$scratch"; \
	"$$scratch/bin/python" -m pip --disable-pip-version-check install --quiet '.[dev]'; \
	"$$scratch/bin/python" -m pip --disable-pip-version-check freeze --all --exclude pip --exclude sandbox-gateway > "$$scratch/freeze"; \
	if grep -nvE '^[A-Za-z0-9._-]+==[A-Za-z0-9.]+$$' "$$scratch/freeze"; then \
		echo "constraints: the lines above are not plain name==version pins; constraints.txt is unchanged" >&2; exit 1; fi; \
	{ printf '# Exact versions of everything: runtime, tests, tools. Written by: make constraints\n'; \
	  cat "$$scratch/freeze"; } > constraints.txt
	@$(VENV)/bin/python config/deploy/pin.py

clean: ## remove the virtual environment and caches; certificates stay
	rm -rf $(VENV) $(MEASURED) .venv-pythons .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis

# Asked in this order because the first is what the user means by Python; the others serve systems whose python3 is old.
# A candidate is run, not only found: version managers leave shims that point at nothing.
PYTHONS := $(PYTHON) python3 python3.11 python3.12 python3.13 python3.14
define make_environment
	@for candidate in $(1); do \
		if "$$candidate" -c 'import ensurepip, sys, venv; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then \
			exec "$$candidate" -m venv --clear $(2); \
		fi; \
	done; \
	echo "make: no Python 3.11 or newer with its venv module was found (on Debian and Ubuntu: apt install python3 python3-venv)" >&2; \
	exit 1
endef

$(VENV)/bin/python:
	$(call make_environment,$(PYTHONS),$(VENV))

# The peers are the system's packages, so Python is the system's too: version managers build theirs without profile-guided
# optimization, which costs the gateway a fifth more CPU than it would on a server.
$(MEASURED)/bin/python:
	$(call make_environment,$(PYTHON) /usr/bin/python3 $(PYTHONS),$(MEASURED))

$(MEASURED)/.installed: pyproject.toml constraints.txt | $(MEASURED)/bin/python
	@echo "installing the gateway into $(MEASURED)"
	@$(MEASURED)/bin/python -m pip --disable-pip-version-check install --quiet -c constraints.txt -e '.[compile]'
	@touch $@

$(RUNTIME): pyproject.toml constraints.txt | $(VENV)/bin/python
	@echo "installing the gateway into $(VENV)"
	@$(PIP) install --quiet -c constraints.txt -e .
	@touch $@

$(TOOLS): pyproject.toml constraints.txt $(RUNTIME)
	@echo "installing what tests and checks need into $(VENV)"
	@$(PIP) install --quiet -c constraints.txt -e '.[dev]'
	@touch $@
