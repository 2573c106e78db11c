# make test    install the peers, check and test everything (what CI runs)
# make check   formatting, vet, staticcheck and the cross builds
# make peers   install the SIP and XMPP software that the interoperability tests need (Debian)
# make fuzz    run each fuzz target for FUZZTIME
# make walk    a hundred times the random walk of the tests, from a seed of its own: SEED=1
# make bench   run the benchmarks
# make demo    two phones, one secure call, no peer needed

GO       ?= go
FUZZTIME ?= 1m
SEED     ?= $(shell date +%s)

# Where the library must build without cgo. The tests must compile there too, so vet looks at them.
CROSS := windows-amd64 darwin-arm64 android-arm64 linux-arm64

# Other people's software that tests call upon, as Debian packages.
# TestMakefileInstallsAll in internal/peertest compares this with what the tests ask for.
PEERS := kamailio kamailio-tls-modules kamailio-outbound-modules kamailio-websocket-modules kamailio-presence-modules \
	baresip-core linphone-cli sip-tester rtpengine-daemon ffmpeg prosody lua-unbound ejabberd python3-slixmpp

# Tests that listen to what a peer heard, in real time. They have the machine for themselves.
REALTIME := ./internal/peertest ./internal/interop ./examples/...

.PHONY: test check fmt vet staticcheck cross peers unit interop fuzz walk bench demo

test: peers check unit interop

check: fmt vet staticcheck cross

fmt:
	@echo gofmt -l .
	@bad="$$(gofmt -l .)"; if [ -n "$$bad" ]; then echo "not formatted:"; echo "$$bad"; exit 1; fi

vet:
	$(GO) vet ./...

staticcheck:
	$(GO) tool staticcheck ./...

cross: $(CROSS:%=cross-%)

cross-%:
	@libs="$$($(GO) list -f '{{if ne .Name "main"}}{{.ImportPath}}{{end}}' ./...)"; \
	export CGO_ENABLED=0 GOOS=$(word 1,$(subst -, ,$*)) GOARCH=$(word 2,$(subst -, ,$*)); \
	echo "CGO_ENABLED=0 GOOS=$$GOOS GOARCH=$$GOARCH $(GO) vet, $(GO) build"; \
	$(GO) vet $$libs && $(GO) build $$libs

peers:
	@sh scripts/peers $(PEERS)

unit:
	CI=true $(GO) test -race -timeout 15m $$($(GO) list ./... | grep -vE '/(internal/(peertest|interop)|examples/[a-z]+)$$')

interop:
	CI=true $(GO) test -race -timeout 20m -p 1 -parallel 16 $(REALTIME)

fuzz:
	GO="$(GO)" sh scripts/fuzz $(FUZZTIME)

walk:
	$(GO) test -race -timeout 4h ./internal/e2e -run '^TestWalk$$' -walk.walks 4000 -walk.seed $(SEED)

bench:
	$(GO) test -run '^$$' -bench . -benchmem ./...

demo:
	$(GO) run ./examples/softphone demo
