# Every target does the set-up that it needs itself. Variables that a command takes (DEMO_SECONDS, TAPE, WORKERS,
# SYMBOLS, PORT_BASE and all of .env.example) may be given here too: make passes on what its command line sets.
.DEFAULT_GOAL := help
.PHONY: help setup demo run programs test test-long schedules soak hostile fuzz bench bench-reader bench-throughput bench-load bench-growth bench-failover lint format types env-example docs docs-serve audit lock clean

BIN := .venv/bin
PYTEST := $(BIN)/pytest --quiet --color=auto

help: ## show this list
	@sed -n 's/^\([a-z-]*\):.*## /  make \1 \t/p' $(firstword $(MAKEFILE_LIST)) | expand -t 25

setup: ## make .venv, get Kafka's jars and check Java and Redis; quick when done before
	@scripts/setup

demo: setup ## run everything and show live reports (DEMO_SECONDS=40 TAPE=file WORKERS=3 SYMBOLS=BTCUSDT,ETHUSDT PORT_BASE=20000 OBSERVE=1)
	@$(BIN)/context8 demo $(if $(DEMO_SECONDS),--seconds $(DEMO_SECONDS)) $(if $(TAPE),--tape $(TAPE)) \
		$(if $(WORKERS),--workers $(WORKERS)) $(if $(SYMBOLS),--symbols $(SYMBOLS)) $(if $(PORT_BASE),--port-base $(PORT_BASE)) $(if $(OBSERVE),--observe)

run: setup ## run one part against KAFKA_BROKERS and REDIS_URL (ROLE=producer, worker or reader; ARGS="--help")
	@$(BIN)/context8 $(or $(ROLE),$(error say which part: make run ROLE=producer, worker or reader)) $(ARGS)

# Programs of others that tests use; the tests that type commands cannot fetch them, since their network is their own.
programs: setup
	@scripts/setup-browser
	@scripts/setup-compose
	@scripts/setup-commands
	@scripts/setup-prometheus
	@scripts/setup-redis-tls

test: programs ## run every test, those with real Kafka and Redis included (ARGS="-k book" for some, PROCESSES=0 for one at a time)
	@$(PYTEST) --benchmark-disable --numprocesses $(or $(PROCESSES),2) --dist loadfile $(ARGS)

test-long: programs ## run the tests that take minutes, an hour in all: commands of docs, Kafka away (ARGS="-k soak" for some)
	@scripts/setup-bench
	@$(PYTEST) --benchmark-disable -m long -s $(ARGS)

schedules: setup ## play random schedules of faults on real processes (SCHEDULES=20)
	@SCHEDULES=$(or $(SCHEDULES),20) $(PYTEST) --benchmark-disable -s tests/system/test_schedules.py

soak: setup ## an hour of random faults on the whole system, watched from outside (SECONDS=300 SEED=7 FOLDER=/tmp/soak)
	@PYTHONPATH=.:tests $(BIN)/python -m soak $(if $(SECONDS),--seconds $(SECONDS)) $(if $(SEED),--seed $(SEED)) $(if $(FOLDER),--folder $(FOLDER)) $(ARGS)

hostile: setup ## an hour of strangers at the topic and at the reader (SECONDS=300 SEED=7)
	@HOSTILE_SECONDS=$(or $(SECONDS),3600) HOSTILE_SEED=$(or $(SEED),1) $(PYTEST) --benchmark-disable -m long -s tests/system/test_hostile_hour.py

fuzz: programs ## tests of properties and of broken messages with 25 times as many examples, other ones each time (FUZZ=100)
	@FUZZ=$(or $(FUZZ),25) $(PYTEST) --benchmark-disable -m "hypothesis or fuzz" --numprocesses 2 --timeout 3000 $(ARGS)

bench: setup ## measure (ARGS="-k book" for some)
	@$(PYTEST) --benchmark-only -r fE $(ARGS)

bench-reader: setup ## measure the reader beside the plain SDK server, 8 minutes (ARGS="--callers 100 --rounds 1" for less)
	@PYTHONPATH=.:tests $(BIN)/python -m benchmarks.reader $(ARGS)

bench-throughput: setup ## measure a worker beside stock Faust, Quix Streams and the bare engine (ARGS="--rounds 1" for less)
	@scripts/setup-bench
	@PYTHONPATH=.:tests $(BIN)/python -m benchmarks.throughput $(ARGS)

bench-load: setup ## measure workers under a steady load (ARGS="--symbols 10 --seconds 30" for less)
	@scripts/setup-bench
	@PYTHONPATH=.:tests $(BIN)/python -m benchmarks.load $(ARGS)

bench-growth: setup ## measure 1 to 100 symbols and 1 to 3 workers, and draw docs/performance-*.svg
	@scripts/setup-bench
	@PYTHONPATH=.:tests $(BIN)/python -m benchmarks.growth $(ARGS)

bench-failover: setup ## measure kills, hangs, joins, leaves and rolling restarts, 11 minutes (ARGS="--times 2 --only kill-16" for less)
	@scripts/setup-bench
	@PYTHONPATH=.:tests $(BIN)/python -m benchmarks.failover $(ARGS)

lint: setup ## check style and format
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .

format: setup ## put the code into the form that lint wants
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

types: setup ## check types
	@$(BIN)/mypy

env-example: setup ## remake .env.example after a change of app/settings.py
	@$(BIN)/python -c 'from app.settings import env_example; print(env_example(), end="")' >.env.example

docs: setup ## remake the tables of docs/ that have a source, and build the site into .cache/site
	@$(BIN)/python scripts/docs_pages.py
	@NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet --strict
	@echo "open .cache/site/index.html"

docs-serve: setup ## show the site at 127.0.0.1:8000 and build it anew on every change
	@NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs serve --strict --dev-addr 127.0.0.1:8000

audit: setup ## bills of materials into dist/, licences, known vulnerabilities of what is locked
	@$(BIN)/python scripts/audit.py $(ARGS)

lock: ## remake requirements/ after a change of dependencies (ARGS=--upgrade for the newest versions)
	@scripts/lock $(ARGS)

clean: ## remove all that set-up, tests and tools have made
	rm -rf .venv .venv-bench .tools .cache .mypy_cache .pytest_cache .ruff_cache .hypothesis .benchmarks dist
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
