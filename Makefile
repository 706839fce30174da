# Each target makes the virtual environment it needs by itself (.venv) and is quick the second time.
RUN = python3 titan_test_suite/bootstrap.py
MINUTES = 10

.PHONY: help demo demo-scale test lint bench screenshots torture clean
help:     ## what can be made
	@sed -n 's/^\([a-z-]*\):.*## /  make \1	/p' Makefile

demo:     ## start a cluster, run two pipelines on it with live progress, stop everything
	@$(RUN) titan_test_suite.demo $(ARGS)

demo-scale: ## have a burst of jobs, and see a cluster grow for it and shrink again
	@$(RUN) titan_test_suite.demo_scale

test:     ## run all tests, in four processes; ARGS="-k name" for some, ARGS="-n 0 …" in one
	@$(RUN) --extra test pytest -n 4 --dist loadfile --no-loadscope-reorder $(ARGS)

lint:     ## style and types
	@$(RUN) --extra test ruff check --config .ci/ruff.toml . && $(RUN) --extra test ruff format --check --config .ci/ruff.toml . && $(RUN) --extra test mypy

bench:    ## measure, beside the peers that are installed
	@$(RUN) --extra bench titan_test_suite.pytests.benchmarks $(ARGS)

screenshots: ## pictures of all pages of the dashboard, of a cluster made for it, into docs/images (needs chromium)
	@$(RUN) --extra test titan_test_suite.screenshots $(ARGS)

torture:  ## a storm of kills, then made-up histories, MINUTES=1 (10) of each (ARGS="--seed 7": of the storm), then long fuzz and cuts
	@$(RUN) titan_test_suite.torture --minutes $(MINUTES) $(ARGS)
	@TITAN_TORTURE=1 TITAN_SIMULATION_MINUTES=$(MINUTES) $(RUN) --extra test pytest -s titan_test_suite/pytests/simulation
	@TITAN_TORTURE=1 $(RUN) --extra test pytest -k "fuzz or partition or store_check"

clean:    ## remove what was made, the virtual environment too
	@python3 -c "import shutil; [shutil.rmtree(d, ignore_errors=True) for d in ('.venv', '.pytest_cache', '.mypy_cache', '.ruff_cache', '.hypothesis', 'build', 'titan_orchestrator.egg-info')]"
