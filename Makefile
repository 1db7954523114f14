# `make` lists the targets. Everything happens in .venv; nothing needs root.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# Python compiles what it imports; compiling all of it at once would cost seconds and 37 MB before the first call.
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check --no-compile
# It keeps what it compiled, also where images of Python set this: else each process would compile all that it imports.
export PYTHONDONTWRITEBYTECODE :=
STAMP := $(VENV)/.installed
RUN_STAMP := $(VENV)/.installed-run
LIGHT_STAMP := $(VENV)/.installed-run-light
PYTEST := $(BIN)/python -m pytest
ARGS ?=

.DEFAULT_GOAL := help
.PHONY: help setup tools run run-light call wheel test test-slow test-clients load simulate replay-simulated replay-rehearsed chaos test-upgrade hostile models eval-speech mutants docs house rehearse fuzz soak bench bench-peers bench-guard bench-edge lint scan format lock clean

help: ## list the targets
	@awk -F':.*## ' '/^[a-z-]+:.*## / {printf "  make %-16s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(STAMP) ## make .venv with all that tests and checks need

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "Python 3.11 or newer is needed; give its path: make PYTHON=/path/to/python3" >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null \
		|| { echo "Python's venv module is missing; on Debian and Ubuntu: apt-get install python3-venv" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)

# The least that a user needs: a server, a client and an agent that understands what its grammar has.
$(LIGHT_STAMP): locks/run-light.txt pyproject.toml | $(BIN)/python
	$(PIP) --require-hashes -r locks/run-light.txt
	$(PIP) --no-deps --no-build-isolation -e .
	@touch $@

# With the engines that understand free speech and speak naturally.
$(RUN_STAMP): $(LIGHT_STAMP) locks/run.txt
	$(PIP) --require-hashes -r locks/run.txt
	@touch $@

$(STAMP): $(RUN_STAMP) locks/test.txt locks/deploy.txt
	$(PIP) --require-hashes -r locks/test.txt -r locks/deploy.txt
	@echo "$(CURDIR)/tests/former" > $$($(BIN)/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/former-name.pth
	@touch $@

tools: setup ## HAProxy and Prometheus, for the tests and the rehearsal, without root
	@deploy/fetch-tools.sh $(VENV)

SERVE = VOICE_LOG_FORMAT=$${VOICE_LOG_FORMAT:-console} exec $(BIN)/voice-agent serve $(ARGS)

run: $(RUN_STAMP) ## start a pod on the embedded store; options: make run ARGS="--port 8081 --color green"
	$(SERVE)

run-light: $(LIGHT_STAMP) ## the same in a third of the space: small engines, for speech as the grammar has it
	$(SERVE)

call: $(LIGHT_STAMP) ## talk to the pod that `make run` started; options: make call ARGS="--help"
	$(BIN)/voice-agent call $(ARGS)

wheel: $(LIGHT_STAMP) ## build dist/voice_agent-….whl, with the locked build backend
	rm -rf build app/*.egg-info
	$(BIN)/python -m pip wheel --quiet --disable-pip-version-check --no-deps --no-build-isolation --wheel-dir dist .

test: setup tools ## all tests but the long ones, on four processes, for many of them wait
	$(PYTEST) -n 4 --dist loadgroup -m "not fuzz and not soak and not slow and not clients" $(ARGS)

test-slow: setup tools ## the long tests: whole cutovers, a rehearsal, calls at the pace of speech, crashes at every moment
	$(PYTEST) -n 2 --dist loadgroup -m slow $(ARGS)

CLIENTS := tests/clients/programs
# Node is a wheel of that venv, so npm and what it installs run on it.
WITH_NODE := PATH="$(CURDIR)/$(VENV)/clients/bin:$$PATH"

$(VENV)/clients/.installed: $(STAMP) $(CLIENTS)/requirements.lock $(CLIENTS)/package-lock.json
	test -x $(VENV)/clients/bin/python || $(BIN)/uv venv --quiet --python $(BIN)/python $(VENV)/clients
	$(BIN)/uv pip sync --quiet --python $(VENV)/clients --require-hashes $(CLIENTS)/requirements.lock
	cd $(CLIENTS) && $(WITH_NODE) npm ci --ignore-scripts --no-audit --no-fund
	@touch $@

test-clients: $(VENV)/clients/.installed ## unmodified SDKs and frameworks, for Python and Node, against a pod, and over an edge whose pods die; ten minutes
	$(PYTEST) -m clients $(ARGS)

load: setup ## load pods and judge what callers saw; for example: make load ARGS="storm --calls 200"; profiles: ARGS=--help
	$(BIN)/python -m loadtest $(or $(ARGS),smoke)

fuzz: setup ## many random and mutated messages against a running server
	$(PYTEST) -m fuzz --timeout 3600 $(ARGS)

soak: setup ## many calls at once for a minute: frames, order, memory
	$(PYTEST) -m soak --timeout 3600 $(ARGS)

simulate: setup ## 100,000 random schedules of crashes and faults on all cores; again: make simulate ARGS="--seed 42"
	$(BIN)/python -m tests.simulation --schedules 100000 $(ARGS)

replay-simulated: setup ## 10,000 random schedules, recorded: do their inputs replay to the same events?
	$(BIN)/python -m tests.simulation --schedules 10000 --replay $(ARGS)

# Recordings that differ are left there to be looked at.
replay-rehearsed: setup tools ## a rehearsal whose calls are recorded, and all of them replayed: the same events? four minutes
	recordings=$$(mktemp -d) && \
		$(BIN)/voice-agent rehearse --callers 120 --record $$recordings $(ARGS) && \
		$(BIN)/voice-agent replay $$recordings && rm -r $$recordings

chaos: setup tools ## break real pods for some minutes, on a replicated store or behind edges; options: make chaos ARGS="--help"
	$(BIN)/python -m tests.chaos $(ARGS)

test-upgrade: setup ## this release and the one before on one Redis, under talk; options: make test-upgrade ARGS="--help"
	$(BIN)/python -m tests.upgrade $(ARGS)

hostile: setup ## hostile callers of every kind beside 20 who talk; a minute each; options: make hostile ARGS="--help"
	$(BIN)/python -m tests.hostile $(ARGS)

models: setup ## pipelines on trial: providers fail, pods die, words and usage are counted; 12 minutes; options: make models ARGS="--help"
	$(BIN)/python -m tests.models $(ARGS)

eval-speech: setup ## strangers talk to the front desk, by each ear, in noise too: how much is understood? an hour, kept; options: make eval-speech ARGS="--help"
	$(BIN)/python -m tests.eval_speech $(ARGS)

mutants: setup ## change one line at a time of call, runtime and stores: do tests notice? for example: make mutants ARGS="--sample 300"
	$(BIN)/python -m tests.mutants $(ARGS)

docs: setup ## write what the documents have from the code: settings, metrics, who imports whom
	$(BIN)/python -m tests.documents

house: setup ## how large files, functions and classes are, and what is too large; for scripts: make house ARGS=--json
	$(BIN)/python -m tests.house $(ARGS)

PEERS := $(BIN)/python -m loadtest.peers

bench: setup ## what a frame, a commit and a call cost, beside the bare echo; some minutes
	$(PEERS) compare --only voice-agent --only voice-agent-no-outbox --most-rounds 0 $(ARGS)
	$(BIN)/python -m tests.speech.bench_endpointing
	$(BIN)/python -m tests.protocol.bench_realtime
	$(BIN)/python -m tests.web.bench_refusals
	$(BIN)/python -m tests.stores.bench_commit
	$(BIN)/python -m tests.stores.bench_call

bench-peers: setup ## this server beside other people's, the table goes into docs/performance.md; 20 minutes
	$(PEERS) compare --report docs/performance.md $(ARGS)

bench-guard: setup ## fail if a conversation's frame costs over 15 % more of the bare echo's CPU than is known
	$(PEERS) guard $(ARGS)

bench-edge: setup ## what an edge costs: CPU a frame, latency, memory a call; 3 minutes
	$(PEERS) edge $(ARGS)

lint: setup ## ruff, mypy, import contracts, Dockerfile
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/hadolint Dockerfile

CHECKOV = $(VENV)/scan/bin/checkov --skip-download --quiet --compact
MANIFESTS := overlays/blue overlays/green redis routing/gateway-api routing/aws-load-balancer-controller argo-rollouts \
	components/cloudwatch components/cutover cutover-job/to-green edge routing/gateway-api-edge \
	routing/aws-load-balancer-controller-edge

scan: setup ## checkov over Terraform, Kubernetes and the Dockerfile, in a venv of its own
	test -x $(VENV)/scan/bin/checkov || { $(BIN)/uv venv --quiet $(VENV)/scan && \
		$(BIN)/uv pip install --quiet --python $(VENV)/scan --require-hashes -r deploy/requirements-scan.lock; }
	$(CHECKOV) -d deploy/terraform
	for part in $(MANIFESTS); do $(BIN)/kubectl kustomize k8s/$$part && echo --- || exit 1; done > $(VENV)/scan/k8s.yaml
	$(CHECKOV) -f $(VENV)/scan/k8s.yaml Dockerfile --framework kubernetes dockerfile --config-file deploy/checkov.yaml

rehearse: setup tools ## blue and green on this machine with live callers: cutovers, a rollback, a crash, a verdict
	$(BIN)/voice-agent rehearse $(ARGS)

format: setup ## write the code as ruff wants it
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# Every hash of every platform, no index: the files hold on any mirror. The build backend is locked too,
# for the project is installed without build isolation. Extras stay: pip looks beyond the lock for a package with an extra
# that is locked without, and refuses the newer release that it finds.
COMPILE := $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-annotate \
	--no-emit-index-url --no-emit-find-links --no-header --no-strip-extras --upgrade

# All of one choice: what is tested is what is run.
ALL := locks/all.txt
PART = $(COMPILE) pyproject.toml -c $(ALL)

lock: $(VENV)/clients/.installed ## choose new versions of all dependencies
	$(COMPILE) pyproject.toml --all-extras --group build --group test --group deploy $(KEPT) -o $(ALL)
	$(PART) -o locks/core.txt
	$(PART) --extra operate -o locks/operator.txt
	$(PART) --extra demo --group build -o locks/run-light.txt
	$(PART) --extra natural --group build -o locks/run.txt
	$(PART) --extra natural --extra piper --extra rehearse --extra microphone --group build --group test -o locks/test.txt
	$(PART) --extra operate --group deploy -o locks/deploy.txt
	$(COMPILE) --group build pyproject.toml -c $(ALL) --only-group build -o locks/build.txt
	rm $(ALL)
	echo checkov | $(COMPILE) - -o deploy/requirements-scan.lock
	$(COMPILE) $(CLIENTS)/requirements.in -o $(CLIENTS)/requirements.lock
	cd $(CLIENTS) && $(WITH_NODE) npm update --ignore-scripts --no-audit --no-fund

clean: ## remove what was made, .venv and stored calls included
	rm -rf $(VENV) $(CLIENTS)/node_modules build dist var .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache *.egg-info
	find app tests -name __pycache__ -prune -exec rm -rf {} +
