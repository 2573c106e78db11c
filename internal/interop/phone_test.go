package interop

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"testing"
	"time"

	"github.com/hoorn-phone/hoorn/internal/peertest"
	"github.com/hoorn-phone/hoorn/sip"
)

// patience is how long anything may take that happens at once on an idle machine.
const patience = 30 * time.Second

// deadline returns a context for one step of a test.
func deadline(t *testing.T, d time.Duration) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), d)
	t.Cleanup(cancel)
	return ctx
}

// account is how a user of a Kamailio is configured over a transport.
func account(k *peertest.Kamailio, user, transport string) *sip.Config {
	return &sip.Config{
		Account: sip.Account{AOR: k.AOR(user), Password: k.Password(user), Proxy: k.Proxy(transport)},
		TLS:     &sip.TLSConfig{RootCAs: k.CA.Pool()},
	}
}

// newUA makes a user agent that ends with the test and whose log goes to the test's.
func newUA(t *testing.T, cfg *sip.Config) *sip.UA {
	t.Helper()
	cfg.Logger = slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelInfo}))
	ua, err := sip.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ua.Close() })
	return ua
}

// register registers a user agent.
func register(t *testing.T, ua *sip.UA) *sip.Registration {
	t.Helper()
	reg, err := ua.Register(deadline(t, patience))
	if err != nil {
		t.Fatalf("%s: %v", ua.AOR(), err)
	}
	return reg
}

// await waits until a registration reports a state after a moment.
func await(t *testing.T, reg *sip.Registration, after time.Time, state sip.RegistrationState, within time.Duration) sip.RegistrationEvent {
	t.Helper()
	var last sip.RegistrationEvent
	for ev := range reg.Events(deadline(t, within)) {
		if ev.Time.After(after) && ev.State == state {
			return ev
		}
		last = ev
	}
	t.Fatalf("the registration is not %v within %v; last it was %v, %v", state, within, last.State, last.Err)
	return sip.RegistrationEvent{}
}

// eventually asks again and again until the answer is nil: for what is seen from outside alone.
func eventually(t *testing.T, within time.Duration, ask func() error) {
	t.Helper()
	ctx := deadline(t, within)
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		err := ask()
		if err == nil {
			return
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			t.Fatalf("after %v: %v", within, err)
		}
	}
}

// accept returns the next call of a user agent.
func accept(t *testing.T, ua *sip.UA) *sip.Call {
	t.Helper()
	in, err := ua.Accept(deadline(t, patience))
	if err != nil {
		t.Fatalf("%s: %v", ua.AOR(), err)
	}
	return in
}

// ended waits until calls have ended, by somebody's wish.
func ended(t *testing.T, calls ...*sip.Call) {
	t.Helper()
	for _, c := range calls {
		if err := c.Wait(deadline(t, patience)); err != nil {
			t.Errorf("%v call: %v", c.Direction(), err)
		}
	}
}

// tapConn shows what goes through a connection.
type tapConn struct {
	net.Conn
	read, written func(b []byte)
}

func (c *tapConn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	c.read(b[:n])
	return n, err
}

func (c *tapConn) Write(b []byte) (int, error) {
	n, err := c.Conn.Write(b)
	c.written(b[:n])
	return n, err
}

// dialer dials on the system's network.
func dialer(ctx context.Context, network, addr string) (net.Conn, error) {
	c, err := new(net.Dialer).DialContext(ctx, network, addr)
	if err != nil {
		return nil, fmt.Errorf("dial %s: %w", addr, err)
	}
	return c, nil
}
