# Every target sets up what it needs, once; a second run starts at once. `make` alone lists the targets.
#
#   VENV    the virtual environment (.venv)
#   PYTHON  the Python it is made with: 3.11, 3.12 or 3.13 (the first that is found)
#   WORLD   of `tiny-model`: a world with a recipe in agentrl/models/tiny (alfworld)
#   ARGS    further words for the command of `train`, `evaluate`, `test`, `test-slow` and `tiny-model`

VENV ?= .venv
PYTHON ?=
WORLD ?= alfworld
ARGS ?=
export PYTHON
BIN := $(VENV)/bin

.DEFAULT_GOAL := help
.PHONY: help train train-long evaluate algorithms preferences test test-slow lint check bench docs tiny-model clean clean-all

help: ## this list
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1|\2/p' $(MAKEFILE_LIST) | column -t -s '|' 2>/dev/null || \
	sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1    \2/p' $(MAKEFILE_LIST)

# The stamps: what an environment was made from. One that can run the tests can run everything else.
$(VENV)/.ready-to-test: pyproject.toml constraints.txt make/install.sh
	@make/install.sh $(VENV) test,lora,lint
	@touch $(VENV)/.ready-to-run $@

$(VENV)/.ready-to-run: pyproject.toml constraints.txt make/install.sh
	@make/install.sh $(VENV)
	@touch $@

train: $(VENV)/.ready-to-run ## the main job: set up, then learn ALFWorld by reinforcement on this machine
	$(BIN)/agentrl train --env alfworld --algo epo $(ARGS)

train-long: $(VENV)/.ready-to-run ## the same for four times as many steps: about half an hour
	$(BIN)/agentrl train --env alfworld --algo epo --steps 240 $(ARGS)

evaluate: $(VENV)/.ready-to-run ## judge the model that comes with the package on all 140 + 134 games, or ARGS="--policy RUN"
	$(BIN)/agentrl eval --env alfworld --policy tiny --split valid_seen,valid_unseen --both $(ARGS)

test: $(VENV)/.ready-to-test ## set up, then pass the tests
	@make/system.sh --if-possible $$(sed 's/#.*//' tests/system_programs.txt)
	$(BIN)/python -m pytest $(ARGS)

algorithms: $(VENV)/.ready-to-run ## train every algorithm for about 90 seconds on two worlds, and table what came of it (two hours)
	$(BIN)/python make/algorithms.py $(ARGS)

preferences: $(VENV)/.ready-to-run ## train every preference objective where the true reward is known; tables and pictures (20 minutes)
	$(BIN)/python make/preferences.py --charts docs/images $(ARGS)

test-slow: $(VENV)/.ready-to-test ## the tests that take long
	@make/system.sh --if-possible $$(sed 's/#.*//' tests/system_programs.txt)
	$(BIN)/python -m pytest -m "slow and not gpu" $(ARGS)

lint: $(VENV)/.ready-to-test ## style, format and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/python make/check_types.py

check: ## lint and test: exactly what CI runs
	@$(MAKE) --no-print-directory lint
	@$(MAKE) --no-print-directory test

bench: $(VENV)/.ready-to-test ## every benchmark: ratios against plain ways of doing the same
	@set -e; for file in $$(grep -l __main__ benchmarks/*.py); do echo "== $$file"; PYTHONPATH=. $(BIN)/python $$file; done

docs: $(VENV)/.ready-to-run ## write the reference pages of docs/ anew, from the code
	$(BIN)/python make/docs.py

tiny-model: $(VENV)/.ready-to-run ## build the model of `--model tiny` anew, for alfworld or WORLD=NAME (what is shipped is its result)
	rm -rf runs/tiny-$(WORLD) runs/tiny-$(WORLD)-model
	$(BIN)/agentrl train --config agentrl/models/tiny/$(WORLD).yaml --run-dir runs/tiny-$(WORLD) $(ARGS)
	$(BIN)/agentrl export runs/tiny-$(WORLD) runs/tiny-$(WORLD)-model
	cp agentrl/models/tiny/$(WORLD).settings.json runs/tiny-$(WORLD)-model/agentrl.json
	rm -rf agentrl/models/tiny/$(WORLD) && mv runs/tiny-$(WORLD)-model agentrl/models/tiny/$(WORLD)

clean: ## remove caches and build products; runs and the environment stay
	rm -rf build dist .lint .mypy_cache .pytest_cache .ruff_cache .hypothesis *.egg-info
	find agentrl envs eval make memory prompts tests trainers benchmarks -name __pycache__ -type d -exec rm -rf {} +

clean-all: clean ## the same, and the environment
	rm -rf $(VENV)
