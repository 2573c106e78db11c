//go:build unix

package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"flag"
	"io"
	"net"
	"sync/atomic"
	"time"

	"mellium.im/xmpp/jid"

	"github.com/hoorn-phone/hoorn/internal/testca"
	"github.com/hoorn-phone/hoorn/internal/xmpplink/linktest"
	"github.com/hoorn-phone/hoorn/xmpp"
)

const xmppRole = "xmpp-server"

// clients connects XMPP clients, each with a TLS connection of its own and stream management on, to a server in a child process,
// and measures what they hold once all is quiet.
func clients(ctx context.Context, args []string, log io.Writer) ([]figure, error) {
	fs := flag.NewFlagSet("clients", flag.ContinueOnError)
	fs.SetOutput(log)
	n := fs.Int("n", 1000, "number of clients")
	parallel := fs.Int("parallel", 32, "logins under way at a time")
	profile := fs.String("profile", "", "write a heap profile to this file")
	if err := fs.Parse(args); err != nil {
		return nil, err
	}
	server, err := spawn(ctx, log, xmppRole)
	if err != nil {
		return nil, err
	}
	defer server.close()
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(server.CA) {
		return nil, errors.New("the server has no certificate")
	}
	trust := &xmpp.TLSConfig{RootCAs: roots}
	account, err := jid.New("user", domain, "")
	if err != nil {
		return nil, err
	}
	connect := func() (*xmpp.Client, error) {
		c, err := xmpp.New(&xmpp.Config{Account: account, Credentials: xmpp.Password(password), Server: "xmpps://" + server.Addr, TLS: trust})
		if err != nil {
			return nil, err
		}
		return c, c.Connect(ctx)
	}
	// The first one pays for what is made once.
	first, err := connect()
	if err != nil {
		return nil, err
	}
	defer first.Close(ctx)

	all := make([]*xmpp.Client, *n)
	var failed atomic.Pointer[error]
	before := measureMemory()
	used, began := cpu(), time.Now()
	each(*n, *parallel, func(i int) {
		c, err := connect()
		if err != nil {
			failed.CompareAndSwap(nil, &err)
			return
		}
		all[i] = c
	})
	took, used := time.Since(began), cpu()-used
	defer each(*n, *parallel, func(i int) {
		if all[i] != nil {
			all[i].Close(ctx)
		}
	})
	if err := failed.Load(); err != nil {
		return nil, *err
	}
	after := measureMemory()
	if err := writeHeapProfile(*profile); err != nil {
		return nil, err
	}
	return append(after.figures(before, *n, "client"),
		figure{"logins", float64(*n) / took.Seconds(), "a second"},
		figure{"processor time", float64(used.Microseconds()) / float64(*n) / 1000, "ms per login"},
	), nil
}

// serveXMPP is a child process.
func serveXMPP(ctx context.Context, args []string, out io.Writer) error {
	ca, err := testca.NewCA(time.Now())
	if err != nil {
		return err
	}
	cert, err := ca.Issue(testca.Template{DNS: []string{domain}})
	if err != nil {
		return err
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	if err := ready(out, hello{Addr: l.Addr().String(), CA: ca.PEM()}); err != nil {
		return err
	}
	context.AfterFunc(ctx, func() { l.Close() })
	s := &linktest.Server{Domain: domain, Username: "user", Password: password, TLS: &tls.Config{Certificates: []tls.Certificate{cert}}, Direct: true, Management: true}
	s.Serve(l)
	return nil
}
