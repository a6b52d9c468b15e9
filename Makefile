# Everything sets itself up: see scripts/setup.sh. PYTHON=/path/to/python3 chooses the interpreter, VENV the folder.

VENV ?= .venv
export VENV

.PHONY: help demo test lint chaos fuzz coverage bench clean

help:
	@echo "make demo      the worked example, on a private sshd of this machine"
	@echo "make test      the whole test suite, lint and branch coverage included"
	@echo "make lint      ruff, mypy, shellcheck, the import table, the Python floors"
	@echo "make chaos     cut submits at every step, 10,000 times and more, and to batch systems (hours; CHAOS=--help)"
	@echo "make fuzz      wild input for every reader of foreign text (EXAMPLES=20000)"
	@echo "make coverage  the test suite, then every line and branch that it missed"
	@echo "make bench     the benchmarks, into benchmarks/results (about two hours; QUICK=1: minutes; ARGS=--help: a part)"
	@echo "make clean     remove what the others made"

demo:
	@scripts/setup.sh demo
	@$(VENV)/bin/jobmgr demo

test:
	@scripts/setup.sh test
	@scripts/test.sh

lint:
	@scripts/setup.sh test
	@$(VENV)/bin/python -m pytest -q tests/test_lint.py tests/test_architecture.py

chaos:
	@scripts/setup.sh test
	@PYTHONPATH=.:remote:tests $(VENV)/bin/python -m chaos.injections $(CHAOS)

fuzz:
	@scripts/setup.sh test
	@FUZZ_EXAMPLES=$(or $(EXAMPLES),20000) $(VENV)/bin/python -m pytest -q --timeout 0 tests/fuzz

coverage:
	@scripts/setup.sh test
	@scripts/test.sh --missing

bench:
	@scripts/setup.sh bench
	@PYTHONPATH=.:remote $(VENV)/bin/python -m benchmarks $(if $(QUICK),--quick) $(ARGS)

clean:
	rm -rf $(VENV) build dist *.egg-info .coverage .coverage.* .pytest_cache .mypy_cache .ruff_cache .hypothesis
