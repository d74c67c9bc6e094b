# Everything a developer runs. `make` alone lists it.

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

export SENDPLANE_CACHE ?= $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/sendplane

STACK := deploy/stack/stack
STACK_DIR := .run/stack

# Assigned before the eval, because a failing script inside `eval "$(…)"` would go unnoticed and
# Cargo would then compile RocksDB itself.
ENV := rocksdb=$$(deploy/stack/rocksdb) && eval "$$rocksdb" && \
       python=$$(deploy/stack/venv) && export SENDPLANE_TEST_PYTHON=$$python

.PHONY: help
help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: demo
demo: say-first-build deps ## Start everything, send one message of each kind and show what became of it
	$(ENV) && deploy/demo/run

.PHONY: say-first-build
say-first-build:
	@deploy/stack/rocksdb --check || echo "A first build compiles RocksDB (16 to 30 minutes, once per machine)."
	@test -d target/debug/deps || echo "A first build compiles the workspace (about 8 minutes)."

.PHONY: test
test: deps ## Run all tests, on a real Kafka of their own
	$(ENV) && cargo build --workspace --bins --locked && cargo test --workspace --locked

.PHONY: sim
sim: install ## Simulate the plane under faults: its tests, or SEEDS=n runs from SEED=first
ifdef SEEDS
	cargo run -p sendplane-sim --locked -- --seeds $(SEEDS) --first $(or $(SEED),1)
else
	cargo test -p sendplane-sim --locked -- --nocapture
endif

.PHONY: chaos
chaos: deps ## Run the long tests: three brokers, every stage killed, frozen and scaled
	$(ENV) && cargo build --workspace --bins --locked && \
	  for test in chaos broker; do \
	    cargo test -p sendplane-tests --test $$test --locked -- --ignored --test-threads 1 --nocapture; \
	  done

.PHONY: bench-send
bench-send: deps ## Measure how fast and how evenly send calls; ONLY="rate-80 mixed" runs some scenarios
	$(ENV) && cargo build --release --workspace --bins --locked && \
	  cargo bench -p sendplane-tests --bench bench_send --locked -- $(ONLY)

.PHONY: lint
lint: install ## Check the format and the lints
	cargo fmt --all --check
	$(ENV) && cargo clippy --workspace --all-targets --locked -- -D warnings

.PHONY: fmt
fmt: ## Format the code
	cargo fmt --all

.PHONY: build
build: install ## Compile the workspace
	$(ENV) && cargo build --workspace --locked

.PHONY: stack-up
stack-up: install ## Start a Kafka and a schema registry in .run/stack
	$(STACK) up --dir $(STACK_DIR)

.PHONY: stack-down
stack-down: ## Stop them; their data stays
	$(STACK) down --dir $(STACK_DIR)

.PHONY: env
env: ## Print the variables for plain cargo: eval "$(make -s env)"
	@deploy/stack/rocksdb
	@echo "export SENDPLANE_TEST_PYTHON=$$(deploy/stack/venv)"

.PHONY: deps
deps: install ## Install and fetch what the build and the tests need
	$(STACK) fetch >/dev/null
	deploy/stack/rocksdb >/dev/null
	deploy/stack/venv >/dev/null

.PHONY: install
install: ## Install missing system packages (Debian, Ubuntu)
	@$(STACK) install

.PHONY: clean
clean: ## Remove what was built and run here; the shared cache stays
	if [ -d $(STACK_DIR) ]; then $(STACK) down --dir $(STACK_DIR); fi
	rm -rf .run
	cargo clean
