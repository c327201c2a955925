# Two commands matter: make up starts everything, make test tests everything.
# "make help" lists the rest.

GO       ?= go
BIN      := bin
NEARCAST := $(BIN)/nearcast
UP       ?=# arguments of "nearcast dev up": make up UP="--port 8800 --apps viewer"
SITES    ?=# a planet instead of one site, as root: make up SITES=us-east-1,eu-west-1,ap-northeast-1

# Tests that are worth the race detector's price: elsewhere ten times the CPU
# time changes what is tested.
RACE     := ./internal/... ./router/... ./brain/...
# Tests that drive media and browsers, one package after the other: they go by
# the clock. What is left mostly waits for servers, and two wait as fast as one. The fuzzers
# run between them, half as long each as "make fuzz" has them.
ALONE    := ./driver/... ./seat/... ./cmd/stream-host ./e2e/... ./web ./dev/planet/wan ./bench/...
# Tests of brain that measure a process, and skip where the race detector is on.
MEASURED := ^Test(PagesComeBack|HostileSockets|TenSeatsForAThousand|MemoryOfALine|BrainKilledInAClaim)$$
TESTFLAGS ?= -timeout 20m

# The version that all programs of a build and the release's archive carry; a
# semantic version, as Nomad asks of its plugins.
VERSION  ?= $(shell sh dev/version.sh)
LDFLAGS  := $(if $(VERSION),-X github.com/nearcast/nearcast/internal/version.stamp=$(VERSION))

# Of the library that apps load (seat/gamepad/preload); internal/testkit builds it with the same.
PAD_CFLAGS := -std=gnu11 -shared -fPIC -O2 -Wall -Wextra -Werror -fvisibility=hidden -U_FORTIFY_SOURCE

.DEFAULT_GOAL := help
.PHONY: help up down status packages test-packages cli build release release-arm64 npm-packages terraform-apply test-faults client test lint fuzz bench-stream bench-peers bench-quality bench-placement bench-planet bench-site bench-sites bench-hostile bench-content bench-capacity clean

help: ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*##/\t/' | expand -t 16

up: packages build ## install what is missing, build, start a site on this machine (or several: SITES=…) and run it until Ctrl-C
	@$(NEARCAST) dev up $(if $(SITES),--sites $(SITES)) $(UP)

down: cli ## stop the site or planet, or end what a killed one left
	@$(NEARCAST) dev down

status: cli ## show processes and apps, and a planet's round trips
	@$(NEARCAST) dev status

packages: cli
	@$(NEARCAST) dev packages --install

test-packages: cli
	@$(NEARCAST) dev packages --install --tests

# Without cgo, so that a fresh machine can build it before it has a C compiler.
cli:
	@CGO_ENABLED=0 $(GO) build -ldflags "$(LDFLAGS)" -o $(NEARCAST) ./cmd/nearcast

build: packages ## build the binaries into bin/ (the driver into bin/plugins/, a Nomad plugin_dir)
	@CGO_ENABLED=0 $(GO) build -ldflags "$(LDFLAGS)" -o $(BIN)/plugins/nomad-driver-stream ./plugins/nomad-driver-stream
	@CGO_CFLAGS="-O2 -g -Wno-deprecated-declarations" $(GO) build -ldflags "$(LDFLAGS)" -o $(BIN)/plugins/nomad-device-seats ./plugins/nomad-device-seats
	@CGO_ENABLED=0 $(GO) build -ldflags "$(LDFLAGS)" -o $(BIN)/nomad-autoscaler-seats ./plugins/nomad-autoscaler-seats
	@CGO_ENABLED=0 $(GO) build -ldflags "$(LDFLAGS)" -o $(BIN)/seat-keeper ./cmd/seat-keeper
	@CGO_ENABLED=0 $(GO) build -ldflags "-s -w $(LDFLAGS)" -o $(BIN)/nearcast-app ./cmd/nearcast-app
	@echo "stream-host: building (the GStreamer bindings take about 3 min the first time)" >&2
	@$(GO) build -ldflags "$(LDFLAGS)" -o $(BIN)/stream-host ./cmd/stream-host
	@$(CC) $(PAD_CFLAGS) -o $(BIN)/nearcast-gamepad.so seat/gamepad/preload/gamepad.c -ldl
	@$(GO) build -o $(BIN)/testapp ./dev/testapp

# Servers and our own programs, of which nodes get one file with one checksum
# (provision/README.md).
RELEASE  := dist/release
release: build ## dist/release/ and dist/nearcast-VERSION-linux-amd64.tar.gz: all that a node runs
	@NEARCAST=$(NEARCAST) BIN=$(BIN) VERSION=$(VERSION) bash provision/release.sh $(RELEASE)

# For servers and edge nodes: our programs for them need no C compiler, Nomad does.
ARM64    := $(BIN)/arm64
release-arm64: cli ## the same for servers and edge nodes with arm64 (needs gcc-aarch64-linux-gnu and libc6-dev-arm64-cross)
	@GOARCH=arm64 CGO_ENABLED=0 $(GO) build -ldflags "$(LDFLAGS)" -o $(ARM64)/nearcast ./cmd/nearcast
	@GOARCH=arm64 CGO_ENABLED=0 $(GO) build -ldflags "$(LDFLAGS)" -o $(ARM64)/nomad-autoscaler-seats ./plugins/nomad-autoscaler-seats
	@ARCH=arm64 NEARCAST=$(NEARCAST) BIN=$(ARM64) VERSION=$(VERSION) bash provision/release.sh $(RELEASE)-arm64

# Terraform's AWS provider, for TestApply. CI does not build it.
$(BIN)/terraform-provider-aws: terraform/provider/main.go
	@$(GO) run ./terraform/provider $@

terraform-apply: $(BIN)/terraform-provider-aws ## apply the Terraform modules to an emulated AWS account, and destroy them (needs terraform and moto)
	@NEARCAST_AWS_PROVIDER=$(abspath $(BIN)/terraform-provider-aws) $(GO) test -count=1 -timeout 60m -run 'TestApply$$' -v ./terraform

FAULTS ?= 20m
test-faults: build ## boot one image as each role while AWS fails for FAULTS (20m), then servers that get a broken release, as root; not part of make test
	@NEARCAST_FAULTS=$(FAULTS) $(GO) test -count=1 -timeout 2h -run 'Test(Faults|BrokenRelease)$$' -v ./provision

# The version of npm packages is that of the programs. Only npm pack needs npm.
npm-packages: ## build @nearcast/player and @nearcast/react: bin/nearcast-*.tgz, to be published by hand
	@$(GO) run ./web/packages/build -version "$(or $(VERSION),0.0.0)" $(BIN)/npm
	@rm -f $(BIN)/nearcast-player-*.tgz $(BIN)/nearcast-react-*.tgz
	@for name in player react; do npm pack --silent --ignore-scripts --pack-destination $(BIN) ./$(BIN)/npm/$$name || exit 1; done

client: ## write client/client.gen.go anew, from router/openapi.yaml
	@$(GO) generate ./client

lint: ## gofmt, go vet, staticcheck
	@unformatted=$$(gofmt -l $$(git ls-files -co --exclude-standard '*.go')); \
	  test -z "$$unformatted" || { echo "gofmt these: $$unformatted"; exit 1; }
	$(GO) vet ./...
	@$(GO) build -C dev/tools/staticcheck -o $(CURDIR)/$(BIN)/staticcheck honnef.co/go/tools/cmd/staticcheck
	$(BIN)/staticcheck ./...

FUZZTIME  ?= 30s
FUZZFLAGS ?=
# FUZZERS run side by side, each with one worker.
FUZZERS   ?= $(shell nproc)
# The tag leaves out tests whose packages take minutes to instrument. Each fuzzer's output
# comes in one piece, when it has ended. Where goroutines run, inputs seem new that are
# not: to make each of them smaller for seconds would leave no time to find others. Go's
# fuzzer now and then takes the end of its time for a failure, without an input that fails:
# then it runs again.
fuzz: ## run each fuzzer for FUZZTIME (30s)
	@dir=$$(mktemp -d); trap 'rm -rf "$$dir"' EXIT; \
	  grep -rHoE '^func Fuzz[A-Za-z0-9]+' --include=*_test.go . | sed -E 's|/[^/]*:func | |' \
	  | xargs -P $(FUZZERS) -L 1 sh -c 'echo "$$2 in $$1" >&2; out=$$0/$$$$; \
	    once() { $(GO) test $(FUZZFLAGS) -tags fuzz -parallel 1 -run "^$$" -fuzz "^$$2\$$" -fuzztime $(FUZZTIME) -fuzzminimizetime 20x "$$1" >"$$out"; }; \
	    once "$$@" || { grep -q "context deadline exceeded" "$$out" && ! grep -q "Failing input" "$$out" && once "$$@"; }; \
	    failed=$$?; flock "$$0" cat "$$out"; exit $$failed' "$$dir"

test: test-packages build ## everything: lint, then all tests; skips are listed at the end with their reasons
	@$(MAKE) --no-print-directory lint
	@$(NEARCAST) dev tools
	@$(NEARCAST) dev tools nomad-autoscaler
	@race=$$($(GO) list $(RACE)); alone=$$($(GO) list $(ALONE)); longest=$$($(GO) list ./provision); \
	  rest=$$($(GO) list ./... | grep -vxF "$$race" | grep -vxF "$$alone" | grep -vxF "$$longest"); \
	  { $(GO) test -json -race $(TESTFLAGS) $$race; \
	    $(GO) test -json $(TESTFLAGS) $$longest $$rest; \
	    $(MAKE) --no-print-directory fuzz FUZZTIME=15s FUZZFLAGS=-json || echo '{"Action":"fail","Package":"the fuzzers"}'; \
	    $(GO) test -json $(TESTFLAGS) -run '$(MEASURED)' ./brain; $(GO) test -json -p 1 $(TESTFLAGS) $$alone; } \
	  | $(GO) run ./dev/testsummary

bench-stream: build test-packages ## measure a stream: latency, frame rate, CPU; JSON lines (BENCH="-only warm")
	@$(GO) run ./bench/stream $(BENCH)

# A test's program: standard error has what is done, standard output the lines.
bench-peers: build test-packages ## measure Nearcast beside m1k1o/neko, where the machine has it; JSON lines (BENCH="-neko FILE -only photon -rounds 3")
	@$(GO) test -c -o $(BIN)/bench-peers ./bench/stream
	@cd bench/stream && ../../$(BIN)/bench-peers -test.run '^$$' -test.bench Peers -test.benchtime 1x -test.timeout 0 $(BENCH) | sed -n -e '/^{/p' -e '/^{/!w /dev/stderr'

bench-quality: test-packages ## measure codecs, profiles and presets: similarity to what was shown at 2, 6 and 12 Mbit/s, CPU and time of a picture; JSON lines
	@$(GO) test -run xx -bench 'Quality|PresetSwitch|Codecs' -benchtime 1x -timeout 90m ./seat/capture | grep '^{'

# RTT names files or folders of round-trip matrices; BENCH takes flags (--help lists them).
RTT ?= bench/placement/testdata
bench-placement: ## measure placement: regret, decisions a second; JSON lines (RTT=file.csv BENCH="-only regret")
	@$(GO) build -o $(BIN)/bench-placement ./bench/placement
	@$(BIN)/bench-placement $(BENCH) $(RTT)

bench-hostile: build test-packages ## play a hostile internet, as root: what an honest person feels; JSON lines (BENCH="-sockets 5000")
	@$(GO) build -o $(BIN)/bench-hostile ./bench/hostile
	@$(BIN)/bench-hostile $(BENCH)

bench-content: ## measure how content gets to a node, beside s5cmd; JSON lines (BENCH="-large", BENCH="-only 3000x10KB -data DIR")
	@$(GO) build -o $(BIN)/bench-content ./bench/content
	@$(BIN)/bench-content $(BENCH)

bench-capacity: ## replay days: who waits for a node and what nodes cost, following people and with fixed headroom; JSON lines (BENCH="-only launch", BENCH="-real -only launch", BENCH="-svg FILE")
	@$(GO) build -o $(BIN)/bench-capacity ./bench/capacity
	@$(BIN)/bench-capacity $(BENCH)

bench-sites: cli ## measure what a router takes that follows 200 sites; JSON lines (BENCH="-sites 50")
	@$(GO) run ./bench/sites $(BENCH)

bench-site: cli ## measure a site of 10,000 seats: changes, claims, a launch day, faults; JSON lines (BENCH="-quick", BENCH="-only claims")
	@$(NEARCAST) dev tools consul
	@$(GO) build -o $(BIN)/bench-site ./bench/site
	@$(BIN)/bench-site $(BENCH)

bench-planet: build test-packages ## measure a planet of sites, as root: placement, first frames, a lost site, coordinates; JSON lines (BENCH="-only places")
	@$(GO) build -o $(BIN)/bench-planet ./bench/planet
	@$(BIN)/bench-planet $(BENCH)

clean: down ## stop the site and remove binaries and all its data
	rm -rf $(BIN) .nearcast
