package interop

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hoorn-phone/hoorn/internal/peertest"
	"github.com/hoorn-phone/hoorn/internal/testca"
	"github.com/hoorn-phone/hoorn/sip"
)

func TestRegister(t *testing.T) {
	t.Parallel()
	for _, algorithm := range []string{"MD5", "SHA-256"} {
		t.Run(algorithm, func(t *testing.T) {
			t.Parallel()
			k := peertest.StartKamailio(t, peertest.KamailioConfig{Algorithm: algorithm, FlowTimer: 20 * time.Second, MaxExpires: time.Minute})
			for i, transport := range []string{"udp", "tcp", "tls", "ws", "wss"} {
				t.Run(transport, func(t *testing.T) {
					user := fmt.Sprint("load", i)
					cfg := account(k, user, transport)
					cfg.Account.MinDigest = algorithm
					ua := newUA(t, cfg)
					reg := register(t, ua)
					info := reg.Info()
					c := k.WaitContacts(user, 1)[0]
					if c.Instance != "<"+ua.Instance()+">" || c.RegID != 1 {
						t.Errorf("binding of instance %q, reg-id %d; want %q, 1", c.Instance, c.RegID, ua.Instance())
					}
					if !info.Outbound || info.FlowTimer != 20*time.Second {
						t.Errorf("outbound %v, flow timer %v; want true, 20s", info.Outbound, info.FlowTimer)
					}
					// It asked for an hour and was given a minute.
					if left := time.Until(info.Expires); left > time.Minute || left < 50*time.Second {
						t.Errorf("expires in %v, want a minute", left)
					}
					if transport == "tls" || transport == "wss" {
						if info.Flow.TLSVersion != tls.VersionTLS13 {
							t.Errorf("TLS version %x", info.Flow.TLSVersion)
						}
					}
					if err := reg.Unregister(deadline(t, patience)); err != nil {
						t.Error(err)
					}
					k.WaitContacts(user, 0)
					if err := reg.Wait(deadline(t, patience)); !errors.Is(err, sip.ErrUnregistered) {
						t.Errorf("the registration ended with %v", err)
					}
				})
			}
		})
	}
}

func TestRegisterRefused(t *testing.T) {
	t.Parallel()
	k := peertest.StartKamailio(t, peertest.KamailioConfig{})
	stranger, err := testca.NewCA(time.Now())
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name string
		mod  func(*sip.Config)
		is   func(error) bool
	}{
		{"wrong password", func(c *sip.Config) { c.Account.Password = "guess" }, func(err error) bool {
			var auth *sip.AuthError
			return errors.As(err, &auth) && auth.Realm == k.Domain
		}},
		{"unknown user", func(c *sip.Config) { c.Account.AOR = "sip:mallory@" + k.Domain }, func(err error) bool {
			var status *sip.StatusError
			return errors.As(err, &status) && status.Code == 403
		}},
		{"weak digest", func(c *sip.Config) { c.Account.MinDigest = "SHA-256" }, func(err error) bool {
			return errors.Is(err, sip.ErrWeakDigest)
		}},
		{"unknown authority", func(c *sip.Config) { c.TLS.RootCAs = stranger.Pool() }, func(err error) bool {
			var cert *sip.CertificateError
			return errors.As(err, &cert) && cert.Reason == sip.CertificateUntrusted
		}},
		{"another domain's server", func(c *sip.Config) { c.Account.AOR = "sip:alice@elsewhere.test" }, func(err error) bool {
			var cert *sip.CertificateError
			return errors.As(err, &cert) && cert.Reason == sip.CertificateWrongName
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			cfg := account(k, "alice", "tls")
			c.mod(cfg)
			ua := newUA(t, cfg)
			if _, err := ua.Register(deadline(t, patience)); !c.is(err) {
				t.Errorf("Register: %v (%T)", err, err)
			}
		})
	}
	if list := k.Contacts("alice"); len(list) != 0 {
		t.Errorf("registered all the same: %v", list)
	}
}

// A refresh meets a nonce that has expired: 401 with stale=true, answered without a new password (RFC 7616 §3.3).
func TestStaleNonce(t *testing.T) {
	t.Parallel()
	k := peertest.StartKamailio(t, peertest.KamailioConfig{NonceLife: time.Second, MaxExpires: 10 * time.Second})
	ua := newUA(t, account(k, "alice", "tls"))
	start := time.Now()
	reg := register(t, ua)
	first := reg.Info().Expires
	k.Log.Wait(t, 0, "SAVED alice")
	mark := k.Log.Mark()
	for ev := range reg.Events(deadline(t, patience)) {
		if ev.State == sip.Registered && ev.Time.After(start) && reg.Info().Expires.After(first) {
			break
		}
		if ev.State == sip.Reconnecting || ev.State == sip.Unregistered {
			t.Fatalf("registration is %v: %v", ev.State, ev.Err)
		}
	}
	if !reg.Info().Expires.After(first) {
		t.Fatal("not refreshed before it expired")
	}
	k.Log.Wait(t, mark, "SAVED alice")
	requests := 0
	for _, line := range k.Log.Since(mark) {
		if strings.Contains(line, "REQUEST REGISTER") {
			requests++
		}
	}
	if requests != 2 {
		t.Errorf("the refresh took %d requests, want 2: one with the old nonce, one with the new", requests)
	}
}

// The registrar asks for a longer life: 423 with Min-Expires (RFC 3261 §10.2.8).
func TestMinExpires(t *testing.T) {
	t.Parallel()
	k := peertest.StartKamailio(t, peertest.KamailioConfig{MinExpires: 5 * time.Minute})
	cfg := account(k, "alice", "tls")
	cfg.Account.Expires = time.Minute
	reg := register(t, newUA(t, cfg))
	if left := time.Until(reg.Info().Expires); left < 4*time.Minute {
		t.Errorf("expires in %v, want five minutes", left)
	}
}

// Keep-alive of RFC 5626 §4.4.1 on a stream: CRLFCRLF within the Flow-Timer, answered with CRLF. Then the server goes
// silent without closing: the missing pong is noticed, and a new flow registered.
func TestKeepAlive(t *testing.T) {
	t.Parallel()
	k := peertest.StartKamailio(t, peertest.KamailioConfig{FlowTimer: 5 * time.Second})
	var dials, pings, pongs atomic.Int32
	var deaf atomic.Bool // the first connection answers no more
	cfg := account(k, "alice", "tcp")
	cfg.Network.Dial = func(ctx context.Context, network, addr string) (net.Conn, error) {
		c, err := dialer(ctx, network, addr)
		if err != nil {
			return nil, err
		}
		first := dials.Add(1) == 1
		return &tapConn{
			Conn: c,
			written: func(b []byte) {
				if string(b) == "\r\n\r\n" {
					pings.Add(1)
				}
			},
			read: func(b []byte) {
				if first && deaf.Load() {
					clear(b) // nothing that means anything
					return
				}
				if string(b) == "\r\n" {
					pongs.Add(1)
				}
			},
		}, nil
	}
	ua := newUA(t, cfg)
	reg := register(t, ua)
	eventually(t, patience, func() error {
		if pings.Load() < 2 || pongs.Load() < 2 {
			return fmt.Errorf("%d pings, %d pongs", pings.Load(), pongs.Load())
		}
		return nil
	})
	if n := dials.Load(); n != 1 {
		t.Fatalf("dialled %d times with a server that answers", n)
	}
	call := k.Contacts("alice")[0].CallID
	deaf.Store(true)
	since := time.Now()
	lost := await(t, reg, since, sip.Reconnecting, patience)
	// One ping interval (at most the Flow-Timer), ten seconds for the pong, one for a busy machine.
	if took := lost.Time.Sub(since); took > 16*time.Second {
		t.Errorf("noticed after %v", took)
	}
	// RFC 5626 §4.5: a flow that lived less than 30 s counts as a failure, after which the pause is 30 to 60 s.
	await(t, reg, lost.Time, sip.Registered, 70*time.Second)
	c := k.WaitContacts("alice", 1)[0] // the same instance and reg-id: it replaced the old binding
	if c.CallID != call {
		t.Errorf("registered anew with Call-ID %s, want %s (RFC 3261 §10.2.4)", c.CallID, call)
	}
}

// A registrar that crashes and comes back, without any memory, is registered with again.
func TestRegistrarRestarted(t *testing.T) {
	t.Parallel()
	k := peertest.StartKamailio(t, peertest.KamailioConfig{})
	alice, bob := newUA(t, account(k, "alice", "tls")), newUA(t, account(k, "bob", "wss"))
	regs := []*sip.Registration{register(t, alice), register(t, bob)}
	since := time.Now()
	k.Kill()
	for _, reg := range regs {
		await(t, reg, since, sip.Reconnecting, patience)
	}
	k.Start()
	for _, reg := range regs {
		// RFC 5626 §4.5: the first pause after a failure is 30 to 60 s.
		await(t, reg, since, sip.Registered, 70*time.Second)
	}
	k.WaitContacts("alice", 1)
	k.WaitContacts("bob", 1)
	call(t, alice, bob, bob.AOR())
}

// call makes a call from one user agent to another, and ends it.
func call(t *testing.T, from, to *sip.UA, uri string) {
	t.Helper()
	out, err := from.Start(deadline(t, patience), uri, nil)
	if err != nil {
		t.Fatalf("call to %s: %v", uri, err)
	}
	in := accept(t, to)
	if err := in.Ring(deadline(t, patience)); err != nil {
		t.Errorf("ring: %v", err)
	}
	if err := in.Answer(deadline(t, patience), nil); err != nil {
		t.Fatalf("answer: %v", err)
	}
	if err := out.Answered(deadline(t, patience)); err != nil {
		t.Fatalf("call to %s: %v", uri, err)
	}
	if err := in.Hangup(deadline(t, patience)); err != nil {
		t.Errorf("hang up: %v", err)
	}
	ended(t, out, in)
}

// Each device has addresses of its own: what goes there rings no other device of the user (RFC 5627).
func TestGRUU(t *testing.T) {
	t.Parallel()
	k := peertest.StartKamailio(t, peertest.KamailioConfig{})
	alice := newUA(t, account(k, "alice", "tls"))
	register(t, alice)
	desk, mobile := newUA(t, account(k, "bob", "tls")), newUA(t, account(k, "bob", "tcp"))
	register(t, desk)
	info := register(t, mobile).Info()
	k.WaitContacts("bob", 2)
	if info.PublicGRUU == "" || info.TempGRUU == "" || info.PublicGRUU == info.TempGRUU {
		t.Fatalf("public GRUU %q, temporary GRUU %q", info.PublicGRUU, info.TempGRUU)
	}
	if !strings.Contains(info.PublicGRUU, mobile.Instance()) {
		t.Errorf("public GRUU %q does not name the instance %q", info.PublicGRUU, mobile.Instance())
	}
	if strings.Contains(info.TempGRUU, "bob") {
		t.Errorf("temporary GRUU %q tells who it is", info.TempGRUU)
	}
	if devices, err := desk.Devices(deadline(t, patience)); err != nil || len(devices) != 1 || devices[0].URI != info.PublicGRUU || devices[0].Instance != mobile.Instance() {
		t.Errorf("the desk phone's other devices: %+v, %v", devices, err)
	}
	for _, uri := range []string{info.PublicGRUU, info.TempGRUU} {
		call(t, alice, mobile, uri)
	}
	rung := make(chan *sip.Call, 1)
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		defer close(rung)
		if in, err := desk.Accept(ctx); err == nil {
			rung <- in
		}
	}()
	// The desk phone has nothing in its queue: a call to all rings it first of all.
	out, err := alice.Start(deadline(t, patience), desk.AOR(), nil)
	if err != nil {
		t.Fatal(err)
	}
	in := accept(t, mobile)
	first := <-rung
	cancel()
	if first.ID() != out.ID() || in.ID() != out.ID() {
		t.Errorf("the desk phone rang for call %s, want %s alone", first.ID(), out.ID())
	}
	if err := in.Reject(deadline(t, patience), 486); err != nil {
		t.Error(err)
	}
	if err := first.Reject(deadline(t, patience), 486); err != nil {
		t.Error(err)
	}
	var busy *sip.StatusError
	if err := out.Answered(deadline(t, patience)); !errors.As(err, &busy) || busy.Code != 486 {
		t.Errorf("call to a busy user: %v", err)
	}
}

// A user with two devices is called: both ring, one answers, the other hears why it stops (RFC 3326).
func TestForkedCall(t *testing.T) {
	t.Parallel()
	k := peertest.StartKamailio(t, peertest.KamailioConfig{})
	alice := newUA(t, account(k, "alice", "tls"))
	register(t, alice)
	desk, mobile := newUA(t, account(k, "bob", "tls")), newUA(t, account(k, "bob", "ws"))
	register(t, desk)
	register(t, mobile)
	out, err := alice.Start(deadline(t, patience), desk.AOR(), nil)
	if err != nil {
		t.Fatal(err)
	}
	loser, winner := accept(t, desk), accept(t, mobile)
	for _, c := range []*sip.Call{loser, winner} {
		if err := c.Ring(deadline(t, patience)); err != nil {
			t.Error(err)
		}
	}
	if err := winner.Answer(deadline(t, patience), nil); err != nil {
		t.Fatal(err)
	}
	ended(t, loser)
	elsewhere := func(r sip.Reason) bool { return r.Protocol == "SIP" && r.Cause == 200 }
	if end := loser.End(); end.By != sip.Remote || !slices.ContainsFunc(end.Reasons, elsewhere) {
		t.Errorf("the other device's end: %+v, want one for a call that was answered elsewhere", end)
	}
	if err := out.Answered(deadline(t, patience)); err != nil {
		t.Fatal(err)
	}
	if err := out.Hangup(deadline(t, patience)); err != nil {
		t.Error(err)
	}
	ended(t, out, winner)
}
