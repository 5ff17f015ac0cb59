# make run     start dproxy with two demo backends, log in as two users, and say what to try
# make test    the whole gate: packages, format, vet, race tests, conformance with a real Dovecot
# make help    all targets

GO      ?= go
BIN     := bin/dproxy
VERSION := $(shell git describe --tags --always --dirty 2>/dev/null || echo unknown)
LDFLAGS := -s -w -X main.version=$(VERSION)
TOOL    := $(GO) tool -modfile=tools/go.mod

# One set of flags for everything but the race detector, which needs cgo: packages are compiled once.
export CGO_ENABLED := 0
export GOFLAGS := -trimpath

# As root the gate installs the real servers it tests against and then insists on them.
ifeq ($(shell id -u),0)
export DPROXY_TEST_REQUIRE ?= all
endif

.DEFAULT_GOAL := build
.PHONY: build run test packages check race conformance e2e conformance-conf fuzz fuzz-briefly bench bench-auth settings deb release clean help

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "%-18s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

build: ## build bin/dproxy, a static binary
	$(GO) build -ldflags '$(LDFLAGS)' -o $(BIN) ./cmd/dproxy

run: build ## dproxy in front of two demo backends, with both logins shown
	$(GO) run ./test/demo -dproxy $(BIN) -stay $(or $(STAY),auto)

test: packages check race fuzz-briefly conformance e2e ## the whole gate

packages: ## install the Debian packages that the tests need (as root; otherwise only say what is missing)
	sh test/packages.sh

check: build ## format, vet, staticcheck
	@out=$$($(TOOL) gofumpt -l .); if [ -n "$$out" ]; then echo "gofumpt would change:"; echo "$$out"; exit 1; fi
	$(GO) vet ./...
	$(TOOL) staticcheck ./...

race: ## all tests under the race detector
	CGO_ENABLED=1 GOFLAGS= $(GO) test -race -shuffle=on -timeout 10m ./...

conformance: build ## play the recorded scenarios and count the identical ones
	DPROXY=$(CURDIR)/$(BIN) $(GO) test -count=1 -v -run 'Conformance' ./test/dialog

e2e: build ## real mail clients through dproxy to real backends, and hostile ones of both
	DPROXY=$(CURDIR)/$(BIN) $(GO) test -p 1 -count=1 -v -run 'EndToEnd' ./test/e2e ./test/attack

conformance-conf: build ## compare `dproxy conf -n` with the installed doveconf, and the time of both
	DPROXY=$(CURDIR)/$(BIN) $(GO) test -count=1 -v -run 'Conformance' ./conf

fuzz-briefly: ## the parsers of what strangers and configurations send, some thousand inputs each
	CGO_ENABLED=1 GOFLAGS= sh test/fuzz.sh 5000x login backend wire listen conf admin auth/policy
	sh test/fuzz.sh 300x auth/fuzz_test.go auth/socket/socket_test.go passdb/passwdfile passdb/ldap

fuzz: ## each fuzz target for FUZZTIME (60s)
	sh test/fuzz.sh $(or $(FUZZTIME),60s)

bench: build ## cost per login, per session and per byte, beside the proxies that are installed
	$(GO) run ./test/bench -dproxy $(BIN)

bench-auth: build ## logins per second and CPU per login over the auth socket, beside Dovecot's auth process
	DPROXY=$(CURDIR)/$(BIN) DPROXY_BENCH_AUTH=1 $(GO) test -count=1 -v -timeout 15m -run BenchAuth ./test/benchauth

settings: ## write docs/settings.md from the settings table
	$(GO) test ./conf -run SettingsDoc -update

deb: build ## a Debian package of bin/dproxy, in dist/
	sh packaging/deb.sh $(BIN) '$(VERSION)' "$$(dpkg --print-architecture)" dist

release: ## static binaries and packages for amd64 and arm64 with checksums and SBOM, in dist/
	sh packaging/release.sh '$(VERSION)' dist

clean: ## remove what was built
	rm -rf bin dist
