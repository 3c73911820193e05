# Two commands are all that a newcomer needs: `make up` and `make test`.
SHELL := /bin/bash

.PHONY: up down status test check bench uninstall setup

up: ## set up what is missing, start the cloud, deploy the sample, print its address
	@scripts/up

down: ## stop everything, keep everything
	@scripts/run jindou down

status:
	@scripts/run jindou status

test: ## install what the tests need, and pass them all
	@scripts/test

check: ## everything that needs no root: format, lint, types, imports, fast tests
	@scripts/check

bench: ## measure beside the floors, in one run, and print the ratios
	@scripts/bench

uninstall: ## take Jindou off this machine; data stays
	@scripts/run jindou uninstall

setup: ## the locked Python environment in .venv
	@scripts/setup
