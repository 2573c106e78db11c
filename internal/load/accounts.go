//go:build unix

package main

import (
	"context"
	"crypto/x509"
	"errors"
	"flag"
	"fmt"
	"io"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hoorn-phone/hoorn/sip"
)

// accounts registers accounts, each a user agent with a TLS connection of its
// own, at a server in a child process, and measures what they hold once all
// is quiet.
func accounts(ctx context.Context, args []string, log io.Writer) ([]figure, error) {
	fs := flag.NewFlagSet("accounts", flag.ContinueOnError)
	fs.SetOutput(log)
	n := fs.Int("n", 1000, "number of accounts")
	parallel := fs.Int("parallel", 32, "registrations under way at a time")
	profile := fs.String("profile", "", "write a heap profile to this file")
	if err := fs.Parse(args); err != nil {
		return nil, err
	}
	server, err := spawn(ctx, log, registrarRole)
	if err != nil {
		return nil, err
	}
	defer server.close()
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(server.CA) {
		return nil, errors.New("the registrar has no certificate")
	}
	tls := &sip.TLSConfig{RootCAs: roots}
	register := func(i int) (*sip.UA, error) {
		ua, err := sip.New(&sip.Config{
			Account: sip.Account{
				AOR:      fmt.Sprintf("sip:user%d@%s", i, domain),
				Password: password,
				Proxy:    "sip:" + server.Addr + ";transport=tls",
			},
			TLS: tls,
		})
		if err != nil {
			return nil, err
		}
		if _, err := ua.Register(ctx); err != nil {
			ua.Close()
			return nil, err
		}
		return ua, nil
	}
	// The first one pays for what is made once.
	first, err := register(0)
	if err != nil {
		return nil, err
	}
	defer first.Close()

	uas := make([]*sip.UA, *n)
	var failed atomic.Pointer[error]
	before := measureMemory()
	used, began := cpu(), time.Now()
	each(*n, *parallel, func(i int) {
		ua, err := register(i + 1)
		if err != nil {
			failed.CompareAndSwap(nil, &err)
			return
		}
		uas[i] = ua
	})
	took, used := time.Since(began), cpu()-used
	defer each(*n, *parallel, func(i int) {
		if uas[i] != nil {
			uas[i].Close()
		}
	})
	if err := failed.Load(); err != nil {
		return nil, *err
	}
	after := measureMemory()
	if err := writeHeapProfile(*profile); err != nil {
		return nil, err
	}
	return append(after.figures(before, *n, "account"),
		figure{"registrations", float64(*n) / took.Seconds(), "a second"},
		figure{"processor time", float64(used.Microseconds()) / float64(*n) / 1000, "ms per registration"},
	), nil
}

// each calls fn with 0 to n-1, some at a time, and waits.
func each(n, parallel int, fn func(i int)) {
	var next atomic.Int64
	var wg sync.WaitGroup
	for range min(parallel, n) {
		wg.Go(func() {
			for {
				i := int(next.Add(1)) - 1
				if i >= n {
					return
				}
				fn(i)
			}
		})
	}
	wg.Wait()
}
